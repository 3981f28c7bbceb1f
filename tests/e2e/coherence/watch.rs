//! Watching what a server answers, until all of it shows what somebody typed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use larder_proto::catalog::{
    BatchGetProductsRequest, GetProductRequest, ListProductsRequest, Product, ProductFilter, SearchProductsRequest,
};
use tonic::{Code, Response, metadata::MetadataMap};

use crate::harness::{Client, Server, eventually};

/// Larder's promise about changes that it hears of from the database alone.
pub(super) const BOUND: Duration = Duration::from_secs(1);
/// How often everything is read again after it has shown the change.
const AFTERWARDS: usize = 3;

/// A product, as far as the answers depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) category: String,
    pub(super) tag: String,
}

/// What the database holds, by id.
pub(super) type Rows = BTreeMap<String, Row>;

/// Something to ask the server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    Get(&'static str),
    Batch(&'static [&'static str]),
    All(usize),
    Category(&'static str),
    Tag(&'static str),
    Search(&'static str),
}

/// Ids with the names of the products.
type Answer = Vec<(String, String)>;

/// What the server says to a question.
struct Said {
    answer: Answer,
    /// Whether the reply says that it may be out of date.
    stale: bool,
}

/// Watches a server.
pub(super) struct Watch<'a> {
    pub(super) server: &'a Server,
    pub(super) questions: &'a [Question],
}

impl Question {
    /// What is to be answered.
    pub(super) fn answer(&self, rows: &Rows) -> Answer {
        let shown = |(id, row): (&String, &Row)| (id.clone(), row.name.clone());
        let those = |holds: &dyn Fn(&Row) -> bool| rows.iter().filter(|(_, row)| holds(row)).map(shown).collect();
        let get = |id: &&str| rows.get_key_value(*id).map(shown);
        match self {
            Self::Get(id) => get(id).into_iter().collect(),
            Self::Batch(ids) => ids.iter().filter_map(get).collect(),
            Self::All(limit) => rows.iter().take(*limit).map(shown).collect(),
            Self::Category(category) => those(&|row| row.category == *category),
            Self::Tag(tag) => those(&|row| row.tag == *tag),
            Self::Search(word) => {
                let found = |row: &Row| row.name.to_lowercase().split(' ').any(|part| part.starts_with(word));
                those(&found)
            }
        }
    }
}

impl Watch<'_> {
    /// Reads everything into L1 and makes sure that it is there.
    pub(super) async fn warm(&self, rows: &Rows) {
        self.server.settle().await;
        self.read(rows).await;
        // A busy machine may keep the server from its passes, and copies it cannot vouch for are loaded again.
        eventually("L1 to have it all", async || {
            let loads = self.server.stats().loads;
            self.read(rows).await;
            self.server.stats().loads == loads
        })
        .await;
    }

    /// Reads everything, and finds what the database holds.
    pub(super) async fn read(&self, rows: &Rows) {
        for question in self.questions {
            assert_eq!(self.ask(question).await.answer, question.answer(rows), "{question:?}");
        }
    }

    /// Reads everything over and over until all of it shows what the database holds now, as it does since `typed`. Each
    /// answer may be that of before until then; from the bound on only if its reply says so, and never again once it was
    /// the new one.
    /// Returns how long the last answer took to come.
    pub(super) async fn until_shown(&self, what: &str, before: &Rows, now: &Rows, typed: Instant) -> Duration {
        let mut shown = BTreeSet::new();
        let mut last = Duration::ZERO;
        let mut rounds = 0;
        while rounds <= AFTERWARDS {
            for question in self.questions {
                let began = typed.elapsed();
                let Said { answer, stale } = self.ask(question).await;
                if answer == question.answer(now) {
                    if shown.insert(question) {
                        last = typed.elapsed();
                    }
                    continue;
                }
                assert!(!shown.contains(question), "{what}: {question:?} went back to {answer:?}");
                assert!(stale || began <= BOUND, "{what}: {question:?} was {answer:?} when asked {began:?} later");
                // A page may be of before and its products of after.
                let neither = answer.iter().find(|row| {
                    [before, now].iter().all(|rows| rows.get(&row.0).is_none_or(|known| known.name != row.1))
                });
                assert_eq!(neither, None, "{what}: {question:?} was {answer:?}");
            }
            rounds += usize::from(shown.len() == self.questions.len());
        }
        last
    }

    async fn ask(&self, question: &Question) -> Said {
        let mut client = self.server.client();
        let list = |filter: ProductFilter, page_size| ListProductsRequest {
            filter: Some(filter),
            page_size: i32::try_from(page_size).expect("a page"),
            ..Default::default()
        };
        let (metadata, products) = match question {
            Question::Get(id) => {
                let request = GetProductRequest { id: (*id).to_owned(), ..Default::default() };
                match client.get_product(request).await {
                    Ok(reply) => parts(reply, |reply| reply.product.into_iter().collect()),
                    Err(status) if status.code() == Code::NotFound => (status.metadata().clone(), Vec::new()),
                    Err(status) => panic!("{question:?}: {status:?}"),
                }
            }
            Question::Batch(ids) => {
                let ids = ids.iter().map(|&id| id.to_owned()).collect();
                let request = BatchGetProductsRequest { ids, read: None };
                parts(client.batch_get_products(request).await.expect("a batch"), |reply| reply.products)
            }
            Question::All(limit) => listed(&mut client, list(ProductFilter::default(), *limit)).await,
            Question::Category(category) => {
                let category = (*category).to_owned();
                listed(&mut client, list(ProductFilter { category, ..Default::default() }, 100)).await
            }
            Question::Tag(tag) => {
                let tag = (*tag).to_owned();
                listed(&mut client, list(ProductFilter { tag, ..Default::default() }, 100)).await
            }
            Question::Search(word) => {
                let query = (*word).to_owned();
                let request = SearchProductsRequest { query, page_size: 1_000, ..Default::default() };
                parts(client.search_products(request).await.expect("a search"), |reply| reply.products)
            }
        };
        let mut answer: Answer = products.into_iter().map(|product| (product.id, product.name)).collect();
        if matches!(question, Question::Search(_)) {
            // The best come first; which those are is not the question here.
            answer.sort();
        }
        Said { answer, stale: metadata.get("x-cache-status").is_some_and(|status| status == "STALE") }
    }
}

async fn listed(client: &mut Client, request: ListProductsRequest) -> (MetadataMap, Vec<Product>) {
    parts(client.list_products(request).await.expect("a page"), |reply| reply.products)
}

fn parts<R>(reply: Response<R>, products: impl FnOnce(R) -> Vec<Product>) -> (MetadataMap, Vec<Product>) {
    let (metadata, reply, _) = reply.into_parts();
    (metadata, products(reply))
}
