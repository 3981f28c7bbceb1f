//! An import through a running server.

use std::time::Duration;

use larder_proto::catalog::{ImportProductsRequest, ImportProductsResponse, Product};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{
    super::{
        CliError,
        client::{CallOptions, Server},
        error::Exit,
        retry::Retry,
        settings::{CallsOrOpens, SettingArgs},
        status,
    },
    Content, Counts, Ended, Job, Record, Window, take,
};
use larder_server::config::{Purpose, value::show_duration};

/// Products on their way to the connection.
const SENDING: usize = 32;
/// After this long without a word in either direction the stream is ended, so that the server commits what it has, and
/// another one begun: there may be too little in the window for a batch, or nothing more to read for now.
const QUIET: Duration = Duration::from_secs(1);
/// After a signal, the server gets this long to commit what it has.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How a stream ended.
enum StreamEnd {
    /// Everything that was sent is committed.
    Settled,
    /// It broke; nothing is known about what was sent last.
    Broken(Status),
    /// A signal came.
    Stopped(Exit),
}

/// Imports everything.
pub(super) async fn run(
    job: &mut Job,
    settings: &SettingArgs<CallsOrOpens>,
    options: &CallOptions,
) -> Result<(), Ended> {
    let client = settings.resolve(Purpose::Call)?.config.client;
    // Without a server at the beginning there is nothing to wait for: it may never have been there.
    let mut server = Some(Server::connect(&client, options.clone()).await?);
    let mut window = Window::new();
    let mut retry = Retry::new(job.retry_for);
    loop {
        if !something_to_send(job, &mut window).await? {
            return Ok(());
        }
        let before = job.counts.sum();
        let connected = match server.take() {
            Some(server) => Ok(server),
            None => Server::connect(&client, options.clone()).await,
        };
        let broken = match connected {
            Err(error) => Err(error),
            Ok(connected) => match stream(job, &mut window, &connected, options.timeout).await? {
                StreamEnd::Settled => {
                    server = Some(connected);
                    retry.progress();
                    continue;
                }
                StreamEnd::Stopped(exit) => return Err(Ended::Stopped(exit)),
                StreamEnd::Broken(status) => Ok(status),
            },
        };
        if job.counts.sum() > before {
            retry.progress();
        }
        window.unsend();
        pause(job, &mut retry, broken).await?;
    }
}

/// Reads on until there is a product to send. Without one, everything is settled.
async fn something_to_send(job: &mut Job, window: &mut Window<Product>) -> Result<bool, Ended> {
    loop {
        job.settle(window, 0)?;
        if !window.is_empty() {
            return Ok(true);
        }
        tokio::select! {
            record = job.source.next() => match record {
                Some(record) => take(&mut job.report, window, record, Content::Product),
                None => return Ok(false),
            },
            exit = job.stop.asked() => return Err(Ended::Stopped(exit)),
        }
    }
}

/// Waits before the next attempt, or gives up.
async fn pause(job: &mut Job, retry: &mut Retry, broken: Result<Status, CliError>) -> Result<(), Ended> {
    let (text, asked, passes) = match &broken {
        Ok(status) => (status::text(status), status::retry_after(status), status::passes(status.code())),
        Err(CliError::Failed(failure)) => (failure.message.clone(), None, failure.exit == Exit::Unavailable),
        Err(CliError::BrokenPipe) => (String::new(), None, false),
    };
    let Some(pause) = retry.pause(asked).filter(|_| passes) else {
        return Err(Ended::Failed(match broken {
            Ok(status) => status::failure(&status),
            Err(error) => error,
        }));
    };
    job.report.say(&format!("larder: {text}; trying again in {}", show_duration(pause)));
    tokio::select! {
        () = sleep(pause) => Ok(()),
        exit = job.stop.asked() => Err(Ended::Stopped(exit)),
    }
}

/// Sends what the window holds and what is read meanwhile, until the file ends, nothing happens for a while, or it breaks.
async fn stream(
    job: &mut Job,
    window: &mut Window<Product>,
    server: &Server,
    patience: Duration,
) -> Result<StreamEnd, Ended> {
    let (sender, receiver) = mpsc::channel(SENDING);
    let mut catalog = server.catalog();
    // The stream as a whole has no deadline; each wait within it has.
    let reply = timeout(patience, catalog.import_products(server.open_request(ReceiverStream::new(receiver)))).await;
    let mut replies = match reply {
        Ok(Ok(reply)) => reply.into_inner(),
        Ok(Err(status)) => return Ok(StreamEnd::Broken(status)),
        Err(_) => return Ok(StreamEnd::Broken(silent())),
    };
    let mut sender = Some(sender);
    let mut heard = Counts::default();
    let mut stopped = None;
    loop {
        if job.source.end().is_some() && window.unsent().is_none() {
            sender = None;
        }
        let Some(open) = &sender else {
            return ending(job, window, &mut replies, heard, patience, stopped).await;
        };
        let unsent = window.unsent().is_some();
        let event = tokio::select! {
            biased;
            exit = job.stop.asked() => Event::Stop(exit),
            reply = replies.message() => Event::Heard(reply),
            permit = open.reserve(), if unsent => match (permit, window.unsent()) {
                (Ok(permit), Some((number, product))) => {
                    // Its number stands for its line, of which there may be several products.
                    permit.send(ImportProductsRequest { product: Some(product.clone()), line: number });
                    window.mark_sent();
                    Event::Sent
                }
                _ => Event::End,
            },
            record = job.source.next(), if window.has_room() && job.source.end().is_none() => {
                Event::Read(record.map(Box::new))
            }
            () = sleep(QUIET), if window.awaits() => Event::End,
        };
        match event {
            Event::Sent | Event::Read(None) => {}
            Event::Read(Some(record)) => {
                let refused = record.product.is_err();
                take(&mut job.report, window, *record, Content::Product);
                if refused {
                    // With nothing before it that is awaited it is settled here: no reply will do it.
                    job.settle(window, 0)?;
                }
            }
            Event::Heard(Ok(Some(reply))) => hear(job, window, reply, &mut heard)?,
            Event::Heard(Ok(None)) => {
                return Ok(StreamEnd::Broken(Status::unavailable("the server ended the import early")));
            }
            Event::Heard(Err(status)) => return Ok(StreamEnd::Broken(status)),
            // A connection that is gone says why in its reply.
            Event::End => sender = None,
            Event::Stop(exit) => {
                sender = None;
                stopped = Some(exit);
            }
        }
    }
}

/// What happens on a stream.
enum Event {
    Stop(Exit),
    Heard(Result<Option<ImportProductsResponse>, Status>),
    Sent,
    Read(Option<Box<Record>>),
    /// Nothing more is to be sent.
    End,
}

/// Hears the server out after the last product.
async fn ending(
    job: &mut Job,
    window: &mut Window<Product>,
    replies: &mut Streaming<ImportProductsResponse>,
    mut heard: Counts,
    patience: Duration,
    mut stopped: Option<Exit>,
) -> Result<StreamEnd, Ended> {
    let mut until = Instant::now() + if stopped.is_some() { LAST_WORDS } else { patience };
    loop {
        tokio::select! {
            reply = replies.message() => match reply {
                Ok(Some(reply)) => {
                    hear(job, window, reply, &mut heard)?;
                    if stopped.is_none() {
                        until = Instant::now() + patience;
                    }
                }
                Ok(None) if window.awaits() => {
                    return Ok(StreamEnd::Broken(Status::unavailable("the server ended the import early")));
                }
                Ok(None) => {
                    window.unsend();
                    return Ok(stopped.map_or(StreamEnd::Settled, StreamEnd::Stopped));
                }
                Err(status) => return Ok(stopped.map_or(StreamEnd::Broken(status), StreamEnd::Stopped)),
            },
            exit = job.stop.asked() => {
                if stopped.is_some() {
                    return Ok(StreamEnd::Stopped(exit));
                }
                stopped = Some(exit);
                until = Instant::now() + LAST_WORDS;
            }
            () = tokio::time::sleep_until(until) => {
                return Ok(stopped.map_or(StreamEnd::Broken(silent()), StreamEnd::Stopped));
            }
        }
    }
}

/// Takes in a report of the server.
fn hear(
    job: &mut Job,
    window: &mut Window<Product>,
    reply: ImportProductsResponse,
    heard: &mut Counts,
) -> Result<(), CliError> {
    let now =
        Counts { created: reply.created, updated: reply.updated, unchanged: reply.unchanged, rejected: reply.rejected };
    job.counts = job.counts + now.since(*heard);
    *heard = now;
    for rejection in &reply.rejections {
        let entry = window.find(rejection.line);
        let (line, raw) = entry.map_or((rejection.line, [].as_slice()), |entry| (entry.line, &entry.raw));
        job.report.rejected(line, &rejection.id, &rejection.reason, raw)?;
    }
    if !reply.token.is_empty() {
        job.token = reply.token;
    }
    job.settle(window, reply.through_line)
}

fn silent() -> Status {
    Status::new(Code::Unavailable, "the server does not answer")
}
