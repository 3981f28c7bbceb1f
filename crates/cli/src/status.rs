//! Errors of a server, for people.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    CliError,
    error::{Exit, Failure},
    output::plain,
};
use larder_server::{code_name, config::value::show_duration};

/// The failure for an error of a server.
pub(crate) fn failure(status: &Status) -> CliError {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
    let more = details.error_info().and_then(|info| info.metadata.get("more_violations"));
    let lines = violations
        .iter()
        .map(|violation| format!("{}: {}", plain(&violation.field), plain(&violation.description)))
        .chain(more.map(|more| format!("and {} more", plain(more))))
        .collect();
    // The server's message repeats its violations; they are shown one a line.
    let message = match violations {
        [] => text(status),
        _ => format!("{}: the server refuses the request", code_name(status.code())),
    };
    let hint = match retry_after(status) {
        None if is_loss(status) => {
            Some("if it is lost every time, the server may speak TLS: try an https:// address".to_owned())
        }
        Some(delay) => Some(format!("try again in {}", show_duration(delay))),
        None => hint(status.code()).map(str::to_owned),
    };
    let exit = if is_loss(status) { Exit::Unavailable } else { exit(status.code()) };
    CliError::Failed(Failure { exit, message, details: lines, hint })
}

/// An error in one line.
pub(crate) fn text(status: &Status) -> String {
    let message = match status.message() {
        "" => "no message",
        _ if is_loss(status) => return "the connection was lost".to_owned(),
        message => message,
    };
    format!("{}: {}", code_name(status.code()), plain(message))
}

/// Whether the connection failed. Errors of the service have details; errors of the transport have none.
fn is_loss(status: &Status) -> bool {
    status.code() == Code::Unknown && status.details().is_empty()
}

/// How long the server asks the client to wait.
pub(crate) fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// Whether the same request may succeed a little later.
pub(crate) fn passes(code: Code) -> bool {
    matches!(
        code,
        // Unknown and Internal are also what a connection that was cut looks like.
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
    )
}

fn exit(code: Code) -> Exit {
    match code {
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::NotFound => Exit::NoInput,
        Code::PermissionDenied | Code::Unauthenticated => Exit::Permission,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Exit::Internal,
        Code::Unavailable
        | Code::ResourceExhausted
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Aborted
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Unimplemented => Exit::Unavailable,
    }
}

fn hint(code: Code) -> Option<&'static str> {
    match code {
        Code::DeadlineExceeded => Some("allow more time with --timeout"),
        Code::Unimplemented => {
            Some("the server at this address does not offer this; is it Larder, and of this release?")
        }
        Code::Unavailable => Some("try again in a moment"),
        Code::Unauthenticated => {
            Some("name the file with your token: --token-file, or token-file in [client]; docs/security.md")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    fn shown(status: &Status) -> (Exit, String) {
        match failure(status) {
            CliError::Failed(failure) => (failure.exit, failure.to_string()),
            CliError::BrokenPipe => unreachable!("a status is no broken pipe"),
        }
    }

    #[test]
    fn violations_are_named_one_a_line() {
        let mut details = ErrorDetails::new();
        details.set_bad_request(vec![FieldViolation::new("page_size", "must not be \u{1b}negative")]);
        let status = Status::with_error_details(Code::InvalidArgument, "invalid request: …", details);
        let (exit, text) = shown(&status);
        assert_eq!(exit, Exit::Usage);
        assert_eq!(
            text,
            "larder: INVALID_ARGUMENT: the server refuses the request\n  page_size: must not be \\u{1b}negative"
        );
    }

    #[test]
    fn a_lost_connection_is_a_server_that_is_away() {
        let (exit, text) = shown(&Status::unknown("h2 protocol error: broken pipe"));
        assert_eq!(
            (exit, text.as_str()),
            (
                Exit::Unavailable,
                "larder: the connection was lost\n  hint: if it is lost every time, the server may speak TLS: try an https:// address"
            )
        );
    }

    #[test]
    fn a_server_that_names_a_time_is_heard() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(2)));
        let status = Status::with_error_details(Code::Unavailable, "the database is away", details);
        assert_eq!(
            shown(&status),
            (Exit::Unavailable, "larder: UNAVAILABLE: the database is away\n  hint: try again in 2s".to_owned())
        );
    }
}
