//! `lookout setup`: from a camera to a configuration, in a dialogue of plain lines.
//!
//! The command finds the cameras or takes an address, reads the camera for a few seconds, and times the models that are
//! there. It asks for the broker, checks the configuration as `check-config` does, and writes it. Every answer is also an
//! option. Nothing is written before everything is checked.

mod broker;
mod camera;
mod dialogue;
mod files;
mod models;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::{doctor, unit};
use crate::config::{self, SinkKind, defaults};
use crate::daemon;
use crate::detector;
use crate::error::{Error, Kind, Result};
use crate::tensor::text_file;
use broker::BrokerAnswers;
use camera::NamedCamera;
use dialogue::{Answers, Dialogue};
use files::Plan;
use models::TimedModel;

/// Folder of the installed models.
const INSTALLED_MODELS: &str = "/usr/local/share/lookout";
/// State folder of the unit.
const UNIT_STATE: &str = "/var/lib/lookout";

/// Arguments of `setup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "On a terminal the command asks for what no option answers. Elsewhere every answer must be an \
                        option, or --yes takes the proposed ones.")]
pub struct Args {
    /// Camera: a V4L2 device, an address as rtsp://HOST/PATH, a folder of pictures, a recording, or pattern
    #[arg(long, value_name = "CAMERA", conflicts_with = "camera_file")]
    camera: Option<String>,
    /// File with the camera's address on its first line, for an address with a password
    #[arg(long, value_name = "FILE")]
    camera_file: Option<PathBuf>,
    /// Name of the camera in messages
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Picture size that a V4L2 camera is asked for [default: the camera's own]
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = parse_size)]
    size: Option<[u32; 2]>,
    /// File of the test picture (.jpg or .png), or none
    #[arg(long, value_name = "FILE")]
    picture: Option<String>,
    /// Model of the configuration: an artifact, a checkpoint, or demo-int8
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Further models to time; those in the state folder and the built-in one are timed in any case
    #[arg(long, value_name = "FILE")]
    candidate: Vec<PathBuf>,
    /// MQTT broker: HOST, HOST:PORT, or none
    #[arg(long, value_name = "BROKER")]
    broker: Option<String>,
    /// User at the broker
    #[arg(long, value_name = "NAME", requires = "broker")]
    broker_user: Option<String>,
    /// File with the password at the broker; without it a terminal is asked, and the password is stored with mode 0600
    #[arg(long, value_name = "FILE", requires = "broker_user")]
    broker_password_file: Option<PathBuf>,
    /// Show the live page on this machine, at http://127.0.0.1:8480
    #[arg(long, value_name = "yes|no", value_parser = parse_yes_no)]
    page: Option<bool>,
    /// Start the service, now and at every boot, with systemctl
    #[arg(long, value_name = "yes|no", value_parser = parse_yes_no)]
    start: Option<bool>,
    /// Folder of the configuration: lookout.toml, and conf.d with the new files
    #[arg(long, value_name = "DIR", default_value = "/etc/lookout")]
    config_dir: PathBuf,
    /// Take the proposed answer to every question that no option answers
    #[arg(long)]
    yes: bool,
    /// Replace files that exist, without asking
    #[arg(long)]
    force: bool,
}

/// Sets up a camera.
///
/// # Errors
/// [`Kind::Usage`] for a missing or wrong answer; [`Kind::Permission`] if the folder is not writable; the camera's and
/// models' errors; [`Kind::Config`] for what `check-config` refuses; [`Kind::CannotCreate`] for a file that exists.
pub fn execute(args: Args) -> Result<()> {
    let answers = match (std::io::stdin().is_terminal(), args.yes) {
        (_, true) => Answers::Proposed,
        (true, false) => Answers::Terminal,
        (false, false) => Answers::Options,
    };
    if answers == Answers::Options {
        missing_answers(&args)?;
    }
    let address = args.camera_file.as_deref().map(first_line).transpose()?;
    if let Some(camera) = &args.camera
        && NamedCamera::parse(camera)?.has_secret()
    {
        let text = "--camera holds a password, which other users see in the list of processes: give --camera-file";
        return Err(Error::new(Kind::Usage, text));
    }
    if let Some(model) = &args.model {
        detector::describe(model)?;
    }
    args.broker.as_deref().map_or(Ok(()), broker::check)?;
    if args.broker.as_deref() == Some("none") && args.broker_user.is_some() {
        return Err(Error::new(Kind::Usage, "--broker-user is for a broker, and --broker none names none"));
    }
    let folder = std::path::absolute(&args.config_dir).map_err(|source| Error::reading(&args.config_dir, source))?;
    files::check_writable(&folder)?;
    let mut dialogue = Dialogue::new(answers);
    let mut plan = Plan::new(&folder);
    if args.start == Some(true) {
        check_unit(&plan)?;
    }

    let trial = try_camera(&mut dialogue, &args, address, &mut plan)?;
    take_picture(&mut dialogue, &args, &trial)?;
    let model = choose_model(&mut dialogue, &args, &plan, &trial)?;
    plan.drop_in("model", &model.to_toml(), false);
    let answers = BrokerAnswers {
        broker: args.broker.clone(),
        user: args.broker_user.clone(),
        password_file: args.broker_password_file.clone(),
    };
    broker::ask(&mut dialogue, answers, &mut plan)?;
    let question = "Show the live page at http://127.0.0.1:8480, on this machine alone?";
    let page = dialogue.yes_no("--page", args.page, question, true)?;
    plan.drop_in("page", &format!("[web]\nenabled = {page}\n"), false);

    plan.confirm(&mut dialogue, args.force)?;
    plan.check()?;
    plan.write(&mut dialogue)?;
    try_brokers(&mut dialogue, &plan)?;
    start(&mut dialogue, &args, &plan)
}

/// A text as TOML.
fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn parse_size(text: &str) -> std::result::Result<[u32; 2], String> {
    let wrong = || format!("{text:?} is not WIDTHxHEIGHT, as 1280x720");
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    let side = |text: &str| text.parse().ok().filter(|side| (16..=16384).contains(side)).ok_or_else(wrong);
    Ok([side(width)?, side(height)?])
}

fn parse_yes_no(text: &str) -> std::result::Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("{text:?} is neither yes nor no")),
    }
}

/// Refuses to begin without a terminal if an option is missing.
fn missing_answers(args: &Args) -> Result<()> {
    let options = [
        ("--camera", args.camera.is_some() || args.camera_file.is_some()),
        ("--name", args.name.is_some()),
        ("--picture", args.picture.is_some()),
        ("--model", args.model.is_some()),
        ("--broker", args.broker.is_some()),
        ("--page", args.page.is_some()),
        ("--start", args.start.is_some()),
    ];
    let missing: Vec<&str> = options.iter().filter(|(_, is_given)| !is_given).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!(
        "there is no terminal to ask at: give {}, or --yes for the proposed answers; over ssh, ssh -t makes a terminal",
        missing.join(", ")
    );
    Err(Error::new(Kind::Usage, text))
}

/// The first line of a file.
fn first_line(path: &Path) -> Result<String> {
    let text = text_file::read(path)?;
    match text.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => {
            crate::redact::learn(line);
            Ok(line.to_owned())
        }
        None => Err(Error::new(Kind::Data, format!("{} is empty; it holds the camera's address", path.display()))),
    }
}

/// Chooses the camera, tries it, and adds it to the plan. At a terminal another one can be chosen after a failure.
fn try_camera(dialogue: &mut Dialogue, args: &Args, address: Option<String>, plan: &mut Plan) -> Result<camera::Trial> {
    let mut given = args.camera.clone().or(address);
    loop {
        let was_given = given.is_some();
        let chosen = camera::choose(dialogue, given.take())?;
        if args.size.is_some() && !matches!(chosen, NamedCamera::Device(_)) {
            return Err(Error::new(Kind::Usage, "--size is for V4L2 cameras; the size of another camera is its own"));
        }
        let name = dialogue.text("--name", args.name.clone(), "Name of the camera", Some("front"))?;
        let mut with_camera = plan.clone();
        with_camera.drop_in("camera", &chosen.to_toml(&name, args.size), chosen.has_secret());
        let settings = config::load(&with_camera.inputs())?;
        let found = settings.cameras.iter().find(|camera| camera.name == name).ok_or_else(|| {
            let text = "another file of conf.d sets [[camera]] after setup-camera.toml: remove that section";
            Error::new(Kind::Config, text)
        })?;
        dialogue.say("Reading the camera …")?;
        match camera::attempt(found, &settings.supervision, matches!(chosen, NamedCamera::Address(_))) {
            Ok(trial) => {
                let rate = trial.rate.map_or_else(
                    || "too few pictures to measure the rate".to_owned(),
                    |rate| format!("{rate:.1} pictures a second"),
                );
                dialogue.say(format_args!("The camera delivers {}, {rate}.", models::size_of(&trial.image)))?;
                if chosen.has_secret() && plan.is_of_unit() {
                    dialogue.say(
                        "Its address holds a password. The service's user reads it from setup-camera.toml, and so can \
                         every user of this machine.",
                    )?;
                }
                *plan = with_camera;
                return Ok(trial);
            }
            Err(error) if dialogue.is_interactive() && !was_given => {
                dialogue.say(format_args!("The camera cannot be used: {}", error.chain()))?;
            }
            Err(error) => return Err(error.at(format!("camera {name}"))),
        }
    }
}

/// Writes the test picture.
fn take_picture(dialogue: &mut Dialogue, args: &Args, trial: &camera::Trial) -> Result<()> {
    let question = "File of the test picture, or none";
    let answer = dialogue.text("--picture", args.picture.clone(), question, Some("lookout-setup.jpg"))?;
    if answer == "none" {
        return Ok(());
    }
    let path = std::path::absolute(&answer).map_err(|source| Error::reading(Path::new(&answer), source))?;
    let picture = trial.image.to_picture();
    files::may_replace(dialogue, &path, b"", args.force)?;
    picture.save(&path)?;
    dialogue.say(format_args!("The test picture is {}.", path.display()))
}

/// Times the models, proposes one and returns the chosen one.
fn choose_model(dialogue: &mut Dialogue, args: &Args, plan: &Plan, trial: &camera::Trial) -> Result<TimedModel> {
    let settings = config::load(&plan.inputs())?;
    let options = daemon::detector_options(&settings.detector)?;
    let mut folders: Vec<PathBuf> = daemon::state_folder(&settings.device).into_iter().collect();
    if plan.is_of_unit() {
        folders.extend([PathBuf::from(UNIT_STATE), PathBuf::from(INSTALLED_MODELS)]);
    }
    let given: Vec<PathBuf> = args.model.iter().chain(&args.candidate).cloned().collect();
    let paths = models::candidates(&given, &folders);
    dialogue.say(format_args!(
        "Timing {} on pictures of {}, for ten seconds …",
        if paths.len() == 1 { "one model".to_owned() } else { format!("{} models", paths.len()) },
        models::size_of(&trial.image)
    ))?;
    let (timed, unusable) = models::time(&paths, &trial.image, &options);
    for (index, model) in timed.iter().enumerate() {
        dialogue.say(format_args!("  {}  {}", index + 1, model.line()))?;
    }
    for reason in unusable {
        dialogue.say(format_args!("  -  {reason}"))?;
    }
    let proposed = models::proposal(&timed)?;
    let proposal = timed[proposed].path.display().to_string();
    if args.model.is_none() && timed[proposed].path == Path::new(models::BUILT_IN) {
        dialogue.say("The built-in model knows a synthetic street alone and finds little in real pictures.")?;
    }
    let mut given = args.model.as_ref().map(|path| path.display().to_string());
    loop {
        let was_given = given.is_some();
        let answer = dialogue.text("--model", given.take(), "Model: its number or its path", Some(&proposal))?;
        let path = models::absolute(Path::new(&answer));
        let numbered = answer.parse::<usize>().ok().and_then(|number| timed.get(number.wrapping_sub(1)));
        let found = numbered.filter(|_| !was_given).or_else(|| timed.iter().find(|model| model.path == path));
        if let Some(model) = found {
            return Ok(model.clone());
        }
        // One that was not timed yet.
        let (mut timed, unusable) = models::time(std::slice::from_ref(&path), &trial.image, &options);
        match (timed.pop(), unusable.first()) {
            (Some(model), _) => {
                dialogue.say(model.line())?;
                return Ok(model);
            }
            (None, reason) => {
                let reason = reason.cloned().unwrap_or_else(|| format!("{}: no model", path.display()));
                if was_given || !dialogue.is_interactive() {
                    return Err(Error::new(Kind::NoInput, reason));
                }
                dialogue.say(reason)?;
            }
        }
    }
}

/// Connects to the brokers of the configuration and prints the results. One that is off for a while is no error: events
/// wait for it.
fn try_brokers(dialogue: &mut Dialogue, plan: &Plan) -> Result<()> {
    for sink in config::load(&plan.inputs())?.sinks {
        if let SinkKind::Mqtt(mqtt) = &sink.kind {
            dialogue.say(format_args!("Broker {}", doctor::findings::broker(mqtt).text))?;
        }
    }
    Ok(())
}

/// Refuses to start the service where the unit would not run this configuration.
fn check_unit(plan: &Plan) -> Result<()> {
    let refuse = |text: String| Err(Error::new(Kind::Usage, text));
    match unit::path() {
        _ if !plan.is_of_unit() => refuse(format!("--start yes: the unit runs {} alone", defaults::FILE)),
        None => refuse("--start yes: lookout.service is not installed; systemd/README.md installs it".to_owned()),
        Some(_) => Ok(()),
    }
}

/// Offers to start the service, or says how.
fn start(dialogue: &mut Dialogue, args: &Args, plan: &Plan) -> Result<()> {
    if check_unit(plan).is_err() {
        return dialogue.say(format_args!("Start it: lookout run --config {}", plan.main().display()));
    }
    if !dialogue.yes_no("--start", args.start, "Start the service, now and at every boot?", true)? {
        return dialogue.say("Start it: systemctl enable --now lookout");
    }
    // A running service takes the new configuration by a restart, which also hands it new credentials.
    for arguments in [&["daemon-reload"][..], &["enable", "lookout"], &["restart", "lookout"]] {
        let command = format!("systemctl {}", arguments.join(" "));
        let status = Command::new("systemctl").args(arguments).status();
        let status =
            status.map_err(|source| Error::new(Kind::Unavailable, format!("{command}: cannot run")).because(source))?;
        if !status.success() {
            return Err(Error::new(
                Kind::Unavailable,
                format!("{command} failed: {status}; see journalctl -u lookout"),
            ));
        }
    }
    dialogue.say("The service runs. lookout status shows its state, lookout doctor checks the board.")
}
