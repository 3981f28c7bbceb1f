//! `ImportProducts`: reads a stream of products, commits them in batches, and returns a stream of progress.

use std::{collections::HashSet, pin::Pin};

use larder_cache::trace;
use larder_proto::serving::{ImportProductsRequest, ImportProductsResponse, RejectedProduct};
use larder_storage::{Imported, ProductData};
use tokio::{sync::mpsc, time::timeout_at};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Status, Streaming};
use tracing::Instrument as _;

use crate::{
    catalog::Catalog,
    contract::{encode_stamp, parse_import},
    grpc::{
        call::{Deadline, Share, headers::REQUEST_ID, methods::IMPORT},
        errors::{self, deadline, tonic_status::corrected},
    },
};

/// The stream of progress.
pub(super) type Progress = Pin<Box<dyn Stream<Item = Result<ImportProductsResponse, Status>> + Send>>;

/// Products committed together. Each of them has its own row in the change log, so that replicas apply them one by one.
const BATCH: usize = 500;
/// A batch with this many bytes of text is committed, however few products it holds.
const BATCH_BYTES: usize = 4 << 20;
/// Reports that may wait for a slow reader before the import waits as well.
const REPORTS: usize = 4;
/// Rejections after which a report is due, however few products were accepted.
const REJECTIONS: usize = 100;

/// Starts an import. The import ends with the stream of products, or when its progress has no reader.
pub(super) fn start(catalog: Catalog, request: Request<Streaming<ImportProductsRequest>>, share: Share) -> Progress {
    let until = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
    let id = request.metadata().get(REQUEST_ID.as_str()).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let span = tracing::info_span!("call", request_id = id, method = IMPORT);
    let (sender, receiver) = mpsc::channel(REPORTS);
    let stream = request.into_inner();
    let import = async move {
        let _share = share;
        let import = Import::new(catalog, sender.clone()).run(stream);
        let ended = match until {
            None => import.await,
            Some(until) => timeout_at(until, import).await.unwrap_or_else(|_| Err(Some(deadline()))),
        };
        if let Err(Some(status)) = ended {
            // The reader may have gone.
            let _ = sender.send(Err(status)).await;
        }
    };
    tokio::spawn(trace::current().carry(import.instrument(span)));
    Box::pin(ReceiverStream::new(receiver))
}

/// An import in progress.
struct Import {
    catalog: Catalog,
    sender: mpsc::Sender<Result<ImportProductsResponse, Status>>,
    report: ImportProductsResponse,
    batch: Vec<(String, ProductData)>,
    ids: HashSet<String>,
    bytes: usize,
    line: u64,
}

/// `Err(None)` ends the import because its progress has no reader.
type Ended = Result<(), Option<Status>>;

impl Import {
    fn new(catalog: Catalog, sender: mpsc::Sender<Result<ImportProductsResponse, Status>>) -> Self {
        Self {
            catalog,
            sender,
            report: ImportProductsResponse::default(),
            batch: Vec::new(),
            ids: HashSet::new(),
            bytes: 0,
            line: 0,
        }
    }

    async fn run(mut self, mut stream: Streaming<ImportProductsRequest>) -> Ended {
        loop {
            match stream.message().await {
                Ok(Some(request)) => self.take(request).await?,
                Ok(None) => break,
                Err(status) => {
                    // Products from before the break are committed and reported.
                    self.commit().await?;
                    let told = !status.details().is_empty();
                    return Err(Some(if told { status } else { corrected(status.code()) }));
                }
            }
        }
        self.commit().await
    }

    async fn take(&mut self, request: ImportProductsRequest) -> Ended {
        let line = if request.line == 0 { self.line + 1 } else { request.line };
        let bytes = request.product.as_ref().map_or(0, prost::Message::encoded_len);
        let Ok(product) = request.product.unwrap_or_default().parse() else {
            self.reject(line, "", "is not a product".to_owned());
            return self.settle(line).await;
        };
        let named = product.id.clone();
        match parse_import(product) {
            Ok((id, data)) => {
                if self.ids.contains(&id) {
                    // The later product wins, as it would in a batch of its own.
                    self.commit().await?;
                }
                self.ids.insert(id.clone());
                self.batch.push((id, data));
                self.bytes += bytes;
            }
            Err(violations) => self.reject(line, &named, violations.to_string()),
        }
        self.settle(line).await
    }

    fn reject(&mut self, line: u64, id: &str, reason: String) {
        let id = id.chars().take(64).collect();
        self.report.rejected += 1;
        self.report.rejections.push(RejectedProduct { line, id, reason });
    }

    /// Notes that a line is in the batch or rejected, and commits when it is time.
    async fn settle(&mut self, line: u64) -> Ended {
        self.line = line;
        if self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES || self.report.rejections.len() >= REJECTIONS {
            self.commit().await?;
        }
        Ok(())
    }

    /// Commits the batch and reports.
    async fn commit(&mut self) -> Ended {
        self.ids.clear();
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            let written = self.catalog.import(batch).await.map_err(|error| Some(errors::write(&error)))?;
            self.report.token = written.stamp().map(encode_stamp).unwrap_or_default();
            for imported in written.value {
                match imported {
                    Imported::Created => self.report.created += 1,
                    Imported::Updated => self.report.updated += 1,
                    Imported::Unchanged => self.report.unchanged += 1,
                }
            }
        }
        self.report.through_line = self.line;
        let report = self.report.clone();
        self.report.rejections.clear();
        self.sender.send(Ok(report)).await.map_err(|_| None)
    }
}
