//! `larder watch`.

use std::time::Duration;

use clap::Args;
use larder_proto::catalog::{
    ProductEvent, ProductEventKind, ProductFilter, WatchProductsRequest, WatchProductsResponse,
};
use tokio::time::sleep;
use tonic::{Code, Status};

use super::{
    CliError,
    client::{CallArgs, Server},
    error::Exit,
    output::{Output, note, plain},
    request::FilterArgs,
    retry::Retry,
    show, status,
    stop::Stop,
    table::cut,
};
use larder_server::config::value::show_duration;

/// A server that sends no message for this long counts as gone: it sends one at least every ten seconds.
const SILENCE: Duration = Duration::from_secs(30);
/// The widest name in columns; a longer name is cut.
const WIDEST: usize = 60;

/// The help of `larder watch`.
const ABOUT: &str = "\
Prints committed changes of products, one a line, until Ctrl-C. It sees the changes of every writer.

put: the product was created or changed. delete: the product was deleted. left: the product changed and no longer matches the
filter. resync: too much changed to list; read again the products that you follow.

While the server is away the command retries, and neither misses nor repeats a change. After --timeout without success it ends
with 69 and prints how to resume.";

/// Prints committed changes of products as they happen.
#[derive(Debug, Args)]
#[command(long_about = ABOUT)]
pub(crate) struct Watch {
    /// Begin after the state that this token names: the token of a message of --json, or of a write. Without a token, begin now.
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    from: String,
    /// Print one JSON object a line, each with its token.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    call: CallArgs,
}

/// A stream that is followed over several connections.
struct Follow {
    /// Where it goes on.
    token: String,
    filter: Option<ProductFilter>,
    retry: Retry,
    out: Output,
    json: bool,
}

impl Watch {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let filter = self.filter.message()?;
        let mut stop = Stop::new()?;
        let server = self.call.connect().await?;
        let retry = Retry::new(self.call.timeout());
        let mut follow = Follow { token: self.from, filter, retry, out: Output::new(), json: self.json };
        let ended = tokio::select! {
            ended = follow.run(&server) => ended,
            // It has no end of its own: to end it is no failure.
            _ = stop.asked() => Ok(()),
        };
        match ended {
            Err(CliError::Failed(failure)) if !follow.token.is_empty() => {
                Err(CliError::Failed(failure).hint(format!("go on with --from {}", plain(&follow.token))))
            }
            ended => {
                if self.call.verbose() && !follow.token.is_empty() {
                    note(&format!("go on with --from {}", plain(&follow.token)));
                }
                ended
            }
        }
    }
}

impl Follow {
    /// Goes from connection to connection until it is hopeless.
    async fn run(&mut self, server: &Server) -> Result<(), CliError> {
        loop {
            let broken = self.stream(server).await?;
            if !status::passes(broken.code()) {
                return Err(self.refused(&broken));
            }
            let text = status::text(&broken);
            let Some(pause) = self.retry.pause(status::retry_after(&broken)) else {
                return Err(CliError::new(Exit::Unavailable, text));
            };
            note(&format!("larder: {text}; trying again in {}", show_duration(pause)));
            sleep(pause).await;
        }
    }

    /// Follows one stream to its end.
    async fn stream(&mut self, server: &Server) -> Result<Status, CliError> {
        let message = WatchProductsRequest { start_token: self.token.clone(), filter: self.filter.clone() };
        let mut catalog = server.catalog();
        let mut messages = match server.open(catalog.watch_products(server.open_request(message))).await {
            Ok(messages) => messages,
            Err(broken) => return Ok(broken),
        };
        loop {
            match Server::next(&mut messages, SILENCE).await {
                Ok(Some(told)) => {
                    self.retry.progress();
                    self.print(&told)?;
                    self.token = told.token;
                }
                Ok(None) => return Ok(Status::unavailable("the server ended the stream")),
                Err(broken) => return Ok(broken),
            }
        }
    }

    /// Prints an event. A checkpoint only moves the token.
    fn print(&mut self, told: &WatchProductsResponse) -> Result<(), CliError> {
        let Some(event) = &told.event else { return Ok(()) };
        if self.json {
            show::message(&mut self.out, "larder.catalog.v1.WatchProductsResponse", told)?;
        } else {
            self.out.line(&line(event))?;
        }
        self.out.flush()
    }

    /// The failure that is no use to try again.
    fn refused(&mut self, status: &Status) -> CliError {
        let failure = status::failure(status);
        if matches!(status.code(), Code::OutOfRange | Code::InvalidArgument) {
            // The token is of no use, or of no more use.
            self.token.clear();
        }
        match status.code() {
            Code::OutOfRange => failure.hint("read again what is followed, and begin from now on: without --from"),
            _ => failure,
        }
    }
}

/// An event in one line.
fn line(event: &ProductEvent) -> String {
    let kind = match event.kind() {
        ProductEventKind::Put => "put",
        ProductEventKind::Delete => "delete",
        ProductEventKind::Left => "left",
        ProductEventKind::Resync => return "resync  more changed than is told: read again what is followed".to_owned(),
        ProductEventKind::Unspecified => "?",
    };
    let mut line = format!("{kind:<8}{}  etag {}", plain(&event.id), plain(&event.etag));
    if let Some(product) = &event.product {
        for text in [show::price(product.price.as_ref()), cut(&plain(&product.name), WIDEST)] {
            if !text.is_empty() {
                line.push_str("  ");
                line.push_str(&text);
            }
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use larder_proto::{catalog::Product, google_type::Money};

    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let product = Product {
            name: "Tea\n\u{1b}".into(),
            price: Some(Money { currency_code: "EUR".into(), units: 3, nanos: 500_000_000 }),
            ..Product::default()
        };
        let event = |kind: ProductEventKind, product| ProductEvent {
            kind: kind.into(),
            id: "a".into(),
            etag: "1f".into(),
            product,
        };
        assert_eq!(line(&event(ProductEventKind::Put, Some(product))), "put     a  etag 1f  EUR 3.50  Tea\\n\\u{1b}");
        assert_eq!(line(&event(ProductEventKind::Put, None)), "put     a  etag 1f");
        assert_eq!(line(&event(ProductEventKind::Delete, None)), "delete  a  etag 1f");
        assert_eq!(line(&event(ProductEventKind::Left, None)), "left    a  etag 1f");
        assert!(line(&event(ProductEventKind::Resync, None)).starts_with("resync  more changed"));
    }
}
