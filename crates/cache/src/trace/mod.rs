//! Traces: the spans of the request that is being answered, without knowing who exports them.
//!
//! A traced request runs [within](Span) a span, which is found in the task. Code that has something to tell
//! [starts](start) a child of that span. In a request that is not traced this costs one look at a thread-local variable and
//! allocates nothing.

use std::{future::Future, sync::Arc};

pub use larder_change::TraceContext;

/// A span, as those who report to it see it. It ends when the last reference to it is dropped, or earlier.
pub trait Span: Send + Sync {
    /// Starts a child.
    fn start(&self, name: &'static str, kind: SpanKind) -> Arc<dyn Span>;

    /// Starts a trace of its own, linked to other requests: work for several of them at once is part of none.
    fn start_linked(&self, name: &'static str, links: &[TraceContext]) -> Arc<dyn Span>;

    /// Adds an attribute.
    fn note(&self, name: &'static str, value: Note<'_>);

    /// Marks the span as failed, for a reason of few possible ones.
    fn fail(&self, reason: &'static str);

    /// Whether keys of copies may be attributes.
    fn takes_keys(&self) -> bool;

    /// The context of the request's outermost span in this process, for whatever the request causes elsewhere.
    fn context(&self) -> TraceContext;
}

/// The kind of a span: what it has to do with other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Work within this process.
    Internal,
    /// A request to another process, such as a database.
    Client,
    /// A message to other processes.
    Producer,
    /// Work on a message of another process.
    Consumer,
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note<'a> {
    /// A text.
    Text(&'a str),
    /// A number.
    Number(u64),
    /// A yes or a no.
    Truth(bool),
}

impl<'a> From<&'a str> for Note<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Note<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Note<'_> {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<bool> for Note<'_> {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

tokio::task_local! {
    static CURRENT: Arc<dyn Span>;
}

/// A span of a traced request, or nothing.
#[derive(Clone, Default)]
pub struct ActiveSpan(Option<Arc<dyn Span>>);

/// The span within which this code runs.
pub fn current() -> ActiveSpan {
    ActiveSpan(CURRENT.try_with(Arc::clone).ok())
}

/// Starts a child of the current span.
pub fn start(name: &'static str, kind: SpanKind) -> ActiveSpan {
    ActiveSpan(CURRENT.try_with(|span| span.start(name, kind)).ok())
}

/// Starts a trace of its own for work on behalf of several requests, linked to those that are traced. Without any, there is no span.
pub fn start_linked(name: &'static str, requests: &[ActiveSpan]) -> ActiveSpan {
    let mut links: Vec<TraceContext> = Vec::new();
    for context in requests.iter().filter_map(ActiveSpan::context) {
        if !links.contains(&context) {
            links.push(context);
        }
    }
    let first = requests.iter().find_map(|request| request.0.as_ref());
    ActiveSpan(first.map(|span| span.start_linked(name, &links)))
}

/// Runs `work` within a span.
pub fn enter<T>(span: &Arc<dyn Span>, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(Arc::clone(span), work)
}

impl From<Arc<dyn Span>> for ActiveSpan {
    fn from(span: Arc<dyn Span>) -> Self {
        Self(Some(span))
    }
}

impl ActiveSpan {
    /// Whether the request is traced.
    pub fn is_traced(&self) -> bool {
        self.0.is_some()
    }

    /// Adds an attribute.
    pub fn note<'a>(&self, name: &'static str, value: impl Into<Note<'a>>) {
        if let Some(span) = &self.0 {
            span.note(name, value.into());
        }
    }

    /// Marks the span as failed.
    pub fn fail(&self, reason: &'static str) {
        if let Some(span) = &self.0 {
            span.fail(reason);
        }
    }

    /// Whether keys of copies may be attributes.
    pub fn takes_keys(&self) -> bool {
        self.0.as_ref().is_some_and(|span| span.takes_keys())
    }

    /// The context of the request's outermost span.
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().map(|span| span.context())
    }

    /// Runs a future within the span: for work that goes on in a task of its own.
    pub async fn carry<F: Future>(self, future: F) -> F::Output {
        match self.0 {
            Some(span) => CURRENT.scope(span, future).await,
            None => future.await,
        }
    }
}
