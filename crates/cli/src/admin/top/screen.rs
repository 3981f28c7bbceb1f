//! The terminal while `larder top` has it.

use std::{io, thread, time::Duration};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::sync::mpsc;

use super::{
    super::super::{CliError, error::Exit},
    draw::draw,
    figures::Figures,
};

/// How long the thread that waits for keys goes without looking whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// The terminal, drawn on as a whole. It is put back as it was when this is dropped, and by a panic.
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

/// What is done at the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// Another size.
    Resized,
    /// The end is asked for.
    End,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn open() -> Result<Self, CliError> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                // Half of it may have been done.
                let _ = ratatui::try_restore();
                Err(failed(&error))
            }
        }
    }

    /// Draws the figures.
    pub(super) fn draw(&mut self, figures: &Figures) -> Result<(), CliError> {
        self.terminal.draw(|frame| draw(frame, figures)).map(drop).map_err(|error| failed(&error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = ratatui::try_restore();
    }
}

/// Waits for keys on a thread of its own, which ends when nobody listens.
pub(super) fn inputs() -> Result<mpsc::Receiver<io::Result<Input>>, CliError> {
    let (sender, receiver) = mpsc::channel(8);
    let listen = move || {
        while !sender.is_closed() {
            let input = match event::poll(LOOK) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let (input, last) = match input {
                Ok(event) => (meant(&event).map(Ok), false),
                Err(error) => (Some(Err(error)), true),
            };
            let gone = input.is_some_and(|input| sender.blocking_send(input).is_err());
            if gone || last {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("larder-keys".to_owned())
        .spawn(listen)
        .map_err(|error| CliError::new(Exit::System, format!("the system refuses a thread: {error}")))?;
    Ok(receiver)
}

/// What an event of the terminal means, if anything.
fn meant(event: &Event) -> Option<Input> {
    match event {
        Event::Resize(..) => Some(Input::Resized),
        Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) => match code {
            KeyCode::Char('q') | KeyCode::Esc => Some(Input::End),
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(Input::End),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn failed(error: &io::Error) -> CliError {
    CliError::new(Exit::Io, format!("the terminal fails: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_keys_end_it() {
        let key = |code, modifiers| meant(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Some(Input::End));
        assert_eq!(key(KeyCode::Esc, KeyModifiers::NONE), Some(Input::End));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Input::End));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(meant(&Event::Resize(80, 24)), Some(Input::Resized));
    }
}
