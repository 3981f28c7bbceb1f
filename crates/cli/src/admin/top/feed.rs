//! Samples of a server, as long as somebody wants them.

use std::time::Duration;

use larder_proto::admin::{ListHotKeysRequest, WatchStatsRequest};
use tokio::{sync::mpsc, time::sleep};
use tonic::Status;

use super::{
    super::super::{
        CliError,
        client::{CallOptions, Server},
        retry::Retry,
        status,
    },
    figures::Sample,
};

use larder_server::config::ClientConfig;

/// More hot keys than fit on most screens.
const HOT_KEYS: i32 = 60;

/// What is new.
#[derive(Debug)]
pub(super) enum News {
    /// Figures.
    Sample(Box<Sample>),
    /// The server does not answer, and why.
    Lost(String),
}

/// Tells news of a server until nobody listens; when it goes away, it is tried again.
pub(super) async fn run(server: Option<Server>, client: ClientConfig, options: CallOptions, news: mpsc::Sender<News>) {
    let mut server = server;
    // Somebody looks on and may end it.
    let mut retry = Retry::new(Duration::MAX);
    loop {
        let connected = match server.take() {
            Some(server) => Ok(server),
            None => Server::connect_admin(&client, options.clone()).await,
        };
        let why = match connected {
            Ok(server) => match follow(&server, &mut retry, &news).await {
                Some(broken) => status::text(&broken),
                None => return,
            },
            Err(CliError::Failed(failure)) => failure.message,
            Err(CliError::BrokenPipe) => return,
        };
        if news.send(News::Lost(why)).await.is_err() {
            return;
        }
        let Some(pause) = retry.pause(None) else { return };
        tokio::select! {
            () = sleep(pause) => {}
            () = news.closed() => return,
        }
    }
}

/// Why the stream broke; `None` when nobody listens any more.
async fn follow(server: &Server, retry: &mut Retry, news: &mpsc::Sender<News>) -> Option<Status> {
    let mut admin = server.admin();
    let message = WatchStatsRequest { interval: None, all_replicas: true };
    let mut messages = match server.open(admin.watch_stats(server.open_request(message))).await {
        Ok(messages) => messages,
        Err(broken) => return Some(broken),
    };
    loop {
        // Unless a server is told otherwise, it tells every second.
        let told = match Server::next(&mut messages, server.timeout()).await {
            Ok(Some(told)) => told,
            Ok(None) => return Some(Status::unavailable("the server ended the stream")),
            Err(broken) => return Some(broken),
        };
        let request = server.request(ListHotKeysRequest { page_size: HOT_KEYS });
        let hot = match server.try_call(admin.list_hot_keys(request)).await {
            Ok(reply) => reply.keys,
            Err(broken) => return Some(broken),
        };
        retry.progress();
        let sample = Sample { replicas: told.replicas, silent: told.silent, hot };
        if news.send(News::Sample(Box::new(sample))).await.is_err() {
            return None;
        }
    }
}
