//! Terminals that nobody sits at.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use tokio::{
    process::{Child, Command},
    time::{Duration, timeout},
};

use crate::harness::eventually;

/// A terminal of 80 columns and 24 lines, whose screen is kept as it was written.
pub(super) struct Terminal {
    keyboard: File,
    line: File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// A new one.
    pub(super) fn open() -> Self {
        let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&control).expect("a terminal of one's own");
        unlockpt(&control).expect("an unlocked terminal");
        let name = ptsname(&control, Vec::new()).expect("its name").into_string().expect("a path");
        let line = File::options().read(true).write(true).open(name).expect("its other end");
        tcsetwinsize(&line, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).expect("its size");
        let keyboard = File::from(control);
        let mut screen = keyboard.try_clone().expect("another handle");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&shown);
        // It ends with the last handle of the other end.
        thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                written.lock().expect("no panic").extend_from_slice(&buffer[..count]);
            }
        });
        Self { keyboard, line, shown }
    }

    /// Starts a command at it.
    pub(super) fn spawn(&self, mut command: Command) -> Child {
        let handle = || Stdio::from(OwnedFd::from(self.line.try_clone().expect("another handle")));
        command.stdin(handle()).stdout(handle()).stderr(handle()).spawn().expect("larder to start")
    }

    /// Types.
    pub(super) fn send(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal to take keys");
    }

    /// Everything written so far, with what moves the cursor.
    pub(super) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("no panic")).into_owned()
    }

    /// Forgets what was written.
    pub(super) fn forget(&self) {
        self.shown.lock().expect("no panic").clear();
    }

    /// Waits until a text is written.
    pub(super) async fn wait_for(&self, text: &str) {
        eventually(text, async || self.shown().contains(text)).await;
    }

    /// How the terminal treats what is typed.
    pub(super) fn mode(&self) -> LocalModes {
        tcgetattr(&self.line).expect("its mode").local_modes
    }

    /// Waits until a command has ended, and all that it wrote has come.
    pub(super) async fn ended(&self, child: &mut Child) -> ExitStatus {
        let ended = timeout(Duration::from_mins(1), child.wait()).await.expect("an end within a minute");
        let mut before = usize::MAX;
        eventually("the last that was written", async || {
            let now = self.shown.lock().expect("no panic").len();
            std::mem::replace(&mut before, now) == now
        })
        .await;
        ended.expect("the state of larder")
    }
}
