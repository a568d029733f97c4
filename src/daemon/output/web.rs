//! The web page and the history, built from the configuration: what both look at is put together here.

use std::sync::Arc;

use super::frame_history::Recent;
use crate::clock::Clock;
use crate::config::{Settings, credential};
use crate::control::Control;
use crate::daemon::paths::state_folder;
use crate::error::{Error, Kind, Result};
use crate::message::{Message, MessageKind};
use crate::metrics::Metrics;
use crate::monitor::{ErrorMap, LatestPass};
use crate::publish::history::{History, Limits, Query, ThumbnailOf};
use crate::publish::{Outlet, Sending, Sink};
use crate::web::{Live, MapsOf, Server, Setup, picture};

/// Longer side of a thumbnail, in pixels.
const THUMBNAIL: usize = 160;
/// Disk space that the history leaves free.
const MIN_FREE: u64 = 64 << 20;

/// What the page and the history are built from.
pub struct Ground<'a> {
    pub settings: &'a Settings,
    pub recent: &'a Recent,
    pub control: &'a Control,
    pub clock: &'a Arc<dyn Clock>,
    pub metrics: &'a Arc<Metrics>,
    /// Where the monitor shows its error maps, if there is one.
    pub view: Option<Arc<LatestPass>>,
}

/// Both, as far as they are configured.
#[derive(Default)]
pub struct Built {
    pub outlets: Vec<Outlet>,
    pub server: Option<Server>,
}

impl Ground<'_> {
    /// Whether the page or the history looks at frames.
    pub fn wants_frames(settings: &Settings) -> bool {
        settings.web.pictures && (settings.web.enabled || settings.history.enabled)
    }

    /// Builds what is configured; on the runtime this is called in.
    ///
    /// # Errors
    ///
    /// What keeps the page from being served. A history that cannot be kept is told in the log.
    pub fn build(&self) -> Result<Built> {
        let mut built = Built::default();
        // The verb of an earlier life would keep the store open.
        self.control.register("events", |_| {
            Err(Error::new(Kind::Config, "no history is kept; history.enabled = true keeps one"))
        });
        let history = self.history()?;
        if let Some(history) = &history {
            let (sink, messages) = (Box::new(history.sink()), vec![MessageKind::Event]);
            built.outlets.push(Outlet { name: "history".to_owned(), messages, sink });
            let asked = history.clone();
            self.control.register("events", move |args| events(&asked, args));
        }
        if self.settings.web.enabled {
            let live = Live::new();
            built.server = Some(self.server(live.clone(), history)?);
            let messages = vec![MessageKind::Report, MessageKind::Event, MessageKind::Status];
            built.outlets.push(Outlet { name: "web".to_owned(), messages, sink: Box::new(Page(live)) });
        }
        Ok(built)
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
        let limits = Limits { max_age: history.max_age, max_size: history.max_size, min_free: MIN_FREE };
        let recent = self.recent.clone();
        let thumbnail: Option<ThumbnailOf> = self.settings.web.pictures.then(|| -> ThumbnailOf {
            Arc::new(move |camera, sequence, bbox| {
                let seen = recent.at(camera, sequence)?;
                picture::cut(&seen.frame.image, bbox, THUMBNAIL)
            })
        });
        Ok(Some(History::open(folder.join("events.redb"), limits, self.clock.clone(), thumbnail)))
    }

    fn server(&self, live: Live, history: Option<History>) -> Result<Server> {
        let web = &self.settings.web;
        let recent = self.recent.clone();
        let thumbnails = history.clone();
        Server::listen(
            web.listen,
            Setup {
                cameras: self.settings.cameras.iter().map(|camera| camera.name.clone()).collect(),
                pictures: web.pictures,
                token: web.token_file.as_deref().map(token).transpose()?,
                control: self.control.clone(),
                metrics: self.metrics.clone(),
                live,
                latest: Arc::new(move |camera| recent.latest(camera).map(|seen| (seen.frame, seen.report))),
                events: history.map(|history| -> crate::web::EventsOf { Arc::new(move |args| events(&history, args)) }),
                thumbnail: thumbnails
                    .map(|history| -> crate::web::ThumbnailOf { Arc::new(move |key| history.thumbnail(key)) }),
                maps: self.view.clone().map(maps),
            },
        )
    }
}

/// The maps that `view` shows, as PNG files by level.
fn maps(view: Arc<LatestPass>) -> MapsOf {
    let file = |map: &ErrorMap| Some((map.level.to_owned(), map.to_png().ok()?));
    Arc::new(move || view.maps().iter().filter_map(file).collect())
}

/// The verb `events`: a page of the history.
fn events(history: &History, args: serde_json::Value) -> Result<serde_json::Value> {
    let query: Query = match args {
        serde_json::Value::Null => Query::default(),
        args => serde_json::from_value(args)
            .map_err(|error| Error::new(Kind::Usage, "events takes limit, before, camera, event").because(error))?,
    };
    let page = history.find(&query)?;
    serde_json::to_value(page).map_err(|error| Error::new(Kind::Internal, "cannot write events as JSON").because(error))
}

/// The token in the file at `path`.
fn token(path: &std::path::Path) -> Result<Vec<u8>> {
    let path = credential(path)?;
    let text = std::fs::read(&path).map_err(|error| Error::reading(&path, error))?;
    let token = text.trim_ascii().to_vec();
    if token.len() < 16 {
        let text = format!("{}: the token has {} characters; at least 16 are needed", path.display(), token.len());
        return Err(Error::new(Kind::Config, text));
    }
    Ok(token)
}

/// Hands messages to whoever watches the page.
struct Page(Live);

impl Sink for Page {
    fn send<'a>(&'a mut self, message: &'a Message) -> Sending<'a> {
        self.0.take(message);
        Box::pin(std::future::ready(Ok(())))
    }
}
