//! Web page and event history: builds both from the configuration.
//!
//! In: the settings, the frame history and the monitor's error maps. Out: a sink and a verb for the history; a sink and
//! a server for the page.

use std::sync::Arc;

use super::console::{self, Console};
use super::frame_history::FrameHistory;
use crate::clock::Clock;
use crate::config::{Settings, read_private_secret};
use crate::control::{Control, answer};
use crate::daemon::paths::state_folder;
use crate::error::{Error, Kind, Result};
use crate::fault::{FaultReporter, FaultReporters};
use crate::message::{Message, MessageKind};
use crate::metrics::Metrics;
use crate::monitor::{ErrorMap, LatestPass};
use crate::publish::history::{History, HistoryLimits, Query, ThumbnailOf};
use crate::publish::{Outlet, Sink, SinkFuture};
use crate::web::{ListeningSocket, Live, MapsOf, ProxySettings, Server, WebConfig, picture};

/// Longer side of a thumbnail, in pixels.
const THUMBNAIL_SIDE: usize = 160;
/// Disk space that the history leaves free, in bytes.
const HISTORY_MIN_FREE: u64 = 64 << 20;
/// Shortest access token, in bytes.
const MIN_TOKEN_LENGTH: usize = 16;

/// Builds the page and the history.
pub struct WebBuilder<'a> {
    pub settings: &'a Settings,
    pub frames: &'a FrameHistory,
    pub control: &'a Control,
    pub clock: &'a Arc<dyn Clock>,
    /// The kernel's id of this boot.
    pub boot_id: &'a str,
    pub metrics: &'a Arc<Metrics>,
    /// Take the faults of page and history.
    pub faults: &'a FaultReporters,
    /// Takes the monitor's error maps, if there is to be a monitor.
    pub view: Option<Arc<LatestPass>>,
    pub console: Console,
    /// Socket of the page of the run before.
    pub socket: Option<ListeningSocket>,
}

/// The page and the history, as far as they are configured.
#[derive(Default)]
pub struct WebOutputs {
    pub outlets: Vec<Outlet>,
    pub server: Option<Server>,
}

impl WebBuilder<'_> {
    /// True if the page or the history needs the frame history.
    pub fn needs_frames(settings: &Settings) -> bool {
        settings.web.pictures && (settings.web.enabled || settings.history.enabled)
    }

    /// Builds what is configured, on the current runtime.
    ///
    /// # Errors
    ///
    /// The page cannot be served. A history that cannot be stored is only logged.
    pub fn build(&self) -> Result<WebOutputs> {
        let mut outputs = WebOutputs::default();
        // Replaces the handler of an earlier run, which would keep the store open.
        self.control.register("events", |_| {
            Err(Error::new(Kind::Config, "no history is kept; history.enabled = true keeps one"))
        });
        let history = self.history()?;
        if let Some(history) = &history {
            let (sink, messages) = (Box::new(history.sink()), vec![MessageKind::Event]);
            let (name, fault) = ("history".to_owned(), (self.faults)("history"));
            outputs.outlets.push(Outlet { name, messages, sink, is_output: false, fault });
            let queried = history.clone();
            self.control.register("events", move |args| events(&queried, args));
        }
        if self.settings.web.enabled {
            let live = Live::new();
            outputs.server = Some(self.server(live.clone(), history)?);
            let messages = vec![MessageKind::Report, MessageKind::Event, MessageKind::Status];
            let (name, sink, fault) = ("web".to_owned(), Box::new(PageSink(live)), FaultReporter::ignored());
            outputs.outlets.push(Outlet { name, messages, sink, is_output: false, fault });
        }
        Ok(outputs)
    }

    fn history(&self) -> Result<Option<History>> {
        let history = &self.settings.history;
        if !history.enabled {
            return Ok(None);
        }
        let folder = match &history.path {
            Some(path) => path.clone(),
            None => state_folder(&self.settings.device)?.join("history"),
        };
        let limits = HistoryLimits { max_age: history.max_age, max_size: history.max_size, min_free: HISTORY_MIN_FREE };
        let frames = self.frames.clone();
        let thumbnail: Option<ThumbnailOf> = self.settings.web.pictures.then(|| -> ThumbnailOf {
            Arc::new(move |camera, sequence, bbox| {
                let kept = frames.at(camera, sequence)?;
                picture::cropped(&kept.frame.image, bbox, THUMBNAIL_SIDE)
            })
        });
        let history = History::open(folder.join("events.redb"), limits, self.clock.clone(), self.boot_id, thumbnail);
        if let Err(error) = history.check() {
            // The first event that is stored clears it.
            (self.faults)("history").set(format!("output history: {}", error.chain()));
        }
        Ok(Some(history))
    }

    fn server(&self, live: Live, history: Option<History>) -> Result<Server> {
        let web = &self.settings.web;
        let frames = self.frames.clone();
        let thumbnails = history.clone();
        Server::listen_on(
            self.socket.as_ref(),
            web.listen,
            WebConfig {
                cameras: self.settings.cameras.iter().map(|camera| camera.name.clone()).collect(),
                pictures: web.pictures,
                token: web
                    .token_file
                    .as_deref()
                    .map(read_token)
                    .transpose()
                    .map_err(|error| error.at("web.token_file"))?,
                control: self.control.clone(),
                metrics: self.metrics.clone(),
                live,
                latest: Arc::new(move |camera| frames.latest(camera).map(|kept| (kept.frame, kept.report))),
                events: history.map(|history| -> crate::web::EventsOf { Arc::new(move |args| events(&history, args)) }),
                thumbnail: thumbnails
                    .map(|history| -> crate::web::ThumbnailOf { Arc::new(move |key| history.thumbnail(key)) }),
                maps: self.view.clone().map(maps),
                proxy: ProxySettings {
                    public_url: web.public_url.clone(),
                    trusted: web.trusted_proxies.clone(),
                    embed_origins: web.embed_origins.clone(),
                },
                on_listening: self.console.page_address.then_some(console::print_page_address),
                fault: (self.faults)("web"),
            },
        )
    }
}

/// The error maps of `view`, as PNG files by feature level.
fn maps(view: Arc<LatestPass>) -> MapsOf {
    let file = |map: &ErrorMap| Some((map.level.clone(), map.to_png().ok()?));
    Arc::new(move || view.maps().iter().filter_map(file).collect())
}

/// Handles the verb `events`: one page of the history.
fn events(history: &History, args: serde_json::Value) -> Result<serde_json::Value> {
    let query: Query = match args {
        serde_json::Value::Null => Query::default(),
        args => serde_json::from_value(args)
            .map_err(|error| Error::new(Kind::Usage, "events takes limit, before, camera, event").because(error))?,
    };
    answer(&history.find(&query)?)
}

/// The access token in the file at `path`.
///
/// # Errors
///
/// The file cannot be read; [`Kind::Config`] if every user can read it, or the token is shorter than
/// `MIN_TOKEN_LENGTH`.
pub fn read_token(path: &std::path::Path) -> Result<Vec<u8>> {
    let text = read_private_secret(path)?;
    let token = text.trim_ascii().to_vec();
    crate::redact::learn_secret(&String::from_utf8_lossy(&token));
    if token.len() < MIN_TOKEN_LENGTH {
        let text = format!(
            "{}: the token has {} characters; at least {MIN_TOKEN_LENGTH} are needed",
            path.display(),
            token.len()
        );
        return Err(Error::new(Kind::Config, text));
    }
    Ok(token)
}

/// Sends messages to the page's clients.
struct PageSink(Live);

/// Longest wait for the page's clients to receive the end of the stream.
const STREAM_END: std::time::Duration = std::time::Duration::from_secs(1);

impl Sink for PageSink {
    fn send<'a>(&'a mut self, message: &'a Message) -> SinkFuture<'a> {
        self.0.add(message);
        Box::pin(std::future::ready(Ok(())))
    }

    fn flush(&mut self) -> SinkFuture<'_> {
        Box::pin(async {
            self.0.end();
            // A client that reads nothing is not waited for.
            let _ = tokio::time::timeout(STREAM_END, self.0.all_unsubscribed()).await;
            Ok(())
        })
    }
}
