//! `larder top`.

mod draw;
mod feed;
mod figures;
mod screen;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};

use clap::Args;
use tokio::sync::mpsc;

use self::{
    feed::News,
    figures::{Connection, Figures, History},
    screen::{Input, Screen, inputs},
};
use super::super::{CliError, client::AdminArgs, stop::Stop};

/// Samples that wait to be drawn.
const WAITING: usize = 4;

/// Shows what all replicas do, second by second, until q, Esc or Ctrl-C.
#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    call: AdminArgs,
}

impl Top {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        if !io::stdout().is_terminal() {
            return Err(CliError::usage("there is no terminal to draw on")
                .hint("larder stats --all --watch prints figures again and again"));
        }
        let mut stop = Stop::new()?;
        let client = self.call.client()?;
        // One that is not there from the beginning may never have been.
        let server = self.call.connect().await?;
        let (sender, mut news) = mpsc::channel(WAITING);
        let shown = client.admin_address.to_string();
        let feed = tokio::spawn(feed::run(Some(server), client, self.call.options().clone(), sender));
        let mut figures = Figures { address: shown.trim_end_matches('/').to_owned(), ..Figures::default() };
        let mut history = History::default();
        let mut screen = Screen::open()?;
        let mut inputs = inputs()?;
        let ended = loop {
            if let Err(error) = screen.draw(&figures) {
                break Err(error);
            }
            tokio::select! {
                _ = stop.asked() => break Ok(()),
                input = inputs.recv() => match input {
                    Some(Ok(Input::Resized)) => {}
                    Some(Ok(Input::End)) | None => break Ok(()),
                    Some(Err(error)) => break Err(screen::failed(&error)),
                },
                told = news.recv() => match told {
                    Some(News::Sample(sample)) => history.add(*sample, &mut figures),
                    Some(News::Lost(why)) => figures.connection = Connection::Lost(why),
                    None => break Ok(()),
                },
            }
        };
        feed.abort();
        ended
    }
}
