//! Records of calls of `CacheAdmin` and of refused calls: lines of a file of their own, or log events with the target `audit`.

mod file;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};
use tonic::Code;
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime as _, SystemTime},
};

pub(crate) use self::file::AuditFile;

use super::{Caller, Door, Refused};
use crate::{codes::code_name, net::Peer, telemetry::LineLimit};

/// Records calls, and counts those that were refused.
#[derive(Debug, Default)]
pub(super) struct Audit {
    refused: [AtomicU64; REASONS.len()],
    lines: LineLimit,
    /// `None`: records go to the log.
    file: Option<Arc<AuditFile>>,
}

/// Why calls were refused, as metrics name it.
pub(super) const REASONS: [&str; 2] = ["unauthenticated", "permission_denied"];

/// A call as records name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Called<'a> {
    /// The path of the method, or of HTTP.
    pub(crate) method: &'a str,
    /// The other end of the connection.
    pub(crate) peer: &'a Peer,
    /// The id of the request; empty where HTTP has none.
    pub(crate) request_id: &'a str,
}

/// A call of `CacheAdmin` that was admitted. It leaves its record when it ends, or when its caller goes away.
pub(crate) struct AdminCall {
    pub(crate) door: Arc<Door>,
    pub(crate) caller: Option<Arc<Caller>>,
    pub(crate) method: String,
    pub(crate) request_id: String,
    /// Whether the record is written.
    pub(crate) recorded: bool,
}

impl Audit {
    pub(super) fn new(file: Option<Arc<AuditFile>>) -> Self {
        Self { file, ..Self::default() }
    }

    /// Counts a refused call, and records it. What one attacker does may come by the thousand, so the lines have a limit.
    pub(super) fn refused(&self, refusal: &Refused, call: Called<'_>) {
        let (reason, why, caller) = match refusal {
            Refused::Unauthenticated(why) => (0, *why, None),
            Refused::Denied(caller) => (1, "role", Some(caller)),
        };
        self.refused[reason].fetch_add(1, Ordering::Relaxed);
        let Some(omitted) = self.lines.admit() else { return };
        let Called { method, peer, request_id } = call;
        let method: String = method.chars().take(LONGEST_METHOD).collect();
        let (caller, by) = named(caller.map(|caller| &**caller));
        let (peer, outcome) = (peer.address, REASONS[reason]);
        match &self.file {
            Some(file) => file.append(line(json!({
                "message": "call refused", "caller": caller, "by": by, "method": method, "peer": peer.to_string(),
                "outcome": outcome, "why": why, "request_id": request_id, "omitted": omitted,
            }))),
            None => {
                tracing::warn!(target: "audit", caller, by, method, %peer, outcome, why, request_id, omitted, "call refused");
            }
        }
    }

    /// Records a call of `CacheAdmin` with its outcome.
    pub(super) fn admin_call(&self, caller: Option<&Caller>, call: Called<'_>, outcome: &str) {
        let Called { method, peer, request_id } = call;
        let (caller, by) = named(caller);
        let peer = peer.address;
        match &self.file {
            Some(file) => file.append(line(json!({
                "message": "admin call", "caller": caller, "by": by, "method": method, "peer": peer.to_string(),
                "outcome": outcome, "request_id": request_id,
            }))),
            None => tracing::info!(target: "audit", caller, by, method, %peer, outcome, request_id, "admin call"),
        }
    }

    /// Records that did not reach their file; `None` where they go to the log.
    pub(super) fn lost(&self) -> Option<u64> {
        self.file.as_ref().map(|file| file.lost())
    }

    /// The refused calls by their reasons.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.into_iter().zip(self.refused.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// The longest path in a record, in characters: the caller chooses the path.
const LONGEST_METHOD: usize = 128;

impl AdminCall {
    /// Records the call with the code that it ended with.
    pub(crate) fn end(mut self, code: Code) {
        self.record(code_name(code));
    }

    fn record(&mut self, outcome: &str) {
        self.recorded = true;
        let call = Called { method: &self.method, peer: self.door.peer(), request_id: &self.request_id };
        self.door.record(self.caller.as_deref(), call, outcome);
    }
}

impl Drop for AdminCall {
    fn drop(&mut self) {
        if !self.recorded {
            self.record(code_name(Code::Cancelled));
        }
    }
}

/// A record as a line of the file, with the time now.
fn line(mut record: Value) -> Vec<u8> {
    let mut time = String::new();
    // Writing into a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    record["timestamp"] = time.into();
    format!("{record}\n").into_bytes()
}

fn named(caller: Option<&Caller>) -> (&str, &str) {
    caller.map_or(("anonymous", "none"), |caller| (&caller.name, caller.by))
}
