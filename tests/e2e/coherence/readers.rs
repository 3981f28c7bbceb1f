//! Readers, and loads that are held between what they read and what they store.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use larder_cache::{Entry, Found, Freshness, Key, LoadError, Policy, ReadError, ReadOptions, Tier};
use larder_proto::catalog;
use larder_server::{
    catalog::{Catalog, Copy, Page, PageCopy, read_at},
    contract::{Read, encode, parse_id},
};
use larder_storage::{ProductRepository as _, StorageError};
use prost::Message as _;
use rand::{Rng as _, rngs::SmallRng, seq::IndexedRandom as _};
use tokio::time::{sleep, timeout};

use super::{
    history::{Floor, History, Read as Seen, Window},
    shop::{Asked, Content, KEYS, Question, Request, id, key_of, write_of},
};

/// Nobody holds a load longer.
const HOLD: Duration = Duration::from_millis(25);

/// Somebody who reads and checks.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) catalog: Catalog,
    pub(super) history: Arc<History>,
    pub(super) rng: SmallRng,
}

/// When a load that has read goes on to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// After so many milliseconds.
    For(u64),
    /// When something that it read has been changed.
    UntilChanged,
    /// When a look at the change log has begun since.
    UntilProven,
}

impl Reader {
    /// Reads one thing as the service does.
    pub(super) async fn read(&mut self) {
        let (read, floor) = self.freshness();
        match self.rng.random_range(0..4) {
            0 => self.one(read, floor).await,
            1 => self.batch(read, floor).await,
            _ => {
                let asked = Asked::any(&mut self.rng);
                self.ask(asked, read, floor).await;
            }
        }
    }

    /// Reads everything there is: what L1 holds, nearly all of it without a load.
    pub(super) async fn read_everything(&mut self) {
        let read = Read::default();
        for key in 0..KEYS {
            self.get(key, read, Floor::default()).await;
        }
        for asked in Asked::all() {
            self.ask(asked, read, Floor::default()).await;
        }
    }

    /// Reads through a load of its own that is held.
    pub(super) async fn read_held(&mut self) {
        let hold = match self.rng.random_range(0..8) {
            0 => Hold::For(self.rng.random_range(0..3)),
            1..5 => Hold::UntilChanged,
            _ => Hold::UntilProven,
        };
        let delay = self.rng.random_bool(0.3).then(|| Duration::from_millis(self.rng.random_range(1..4)));
        if self.rng.random_bool(0.4) {
            self.held_products(delay, hold).await;
        } else {
            self.held_page(delay, hold).await;
        }
    }

    fn freshness(&mut self) -> (Read, Floor) {
        let plain = Read::default();
        match self.rng.random_range(0..20) {
            0 => {
                let floor = Floor { time: self.history.now(), commit: None };
                (Read { freshness: Freshness::FullyConsistent, ..plain }, floor)
            }
            1..5 => match self.history.token(self.rng.random_range(0..1_000)) {
                Some((token, floor)) => (Read { freshness: Freshness::AtLeast(token), ..plain }, floor),
                None => (plain, Floor::default()),
            },
            5 => (Read { options: ReadOptions { cache_only: true, ..plain.options }, ..plain }, Floor::default()),
            _ => (plain, Floor::default()),
        }
    }

    fn window(&self, floor: Floor) -> Window {
        self.history.window(floor, || self.catalog.cache().age_of_last_pass())
    }

    async fn one(&mut self, read: Read, floor: Floor) {
        let key = self.rng.random_range(0..KEYS);
        self.get(key, read, floor).await;
    }

    async fn get(&self, key: usize, read: Read, floor: Floor) {
        let window = self.window(floor);
        if read == Read::default()
            && let Some(entry) = self.catalog.reader().get(&id(key))
        {
            self.history.counts.hits.fetch_add(1, Ordering::Relaxed);
            return self.check_product(key, &entry, window, false, "a hit");
        }
        let product = parse_id("id", id(key)).expect("an id");
        match self.catalog.product(product, read).await {
            Ok(found) => self.check_found(key, &found, window, "a read"),
            Err(error) => self.failed(&error),
        }
    }

    async fn batch(&mut self, read: Read, floor: Floor) {
        let keys = self.some_keys(6);
        let window = self.window(floor);
        let mut absent = Vec::new();
        for key in keys {
            match self.catalog.reader().get(&id(key)).filter(|_| read == Read::default()) {
                Some(entry) => self.check_product(key, &entry, window, false, "a batch's hit"),
                None => absent.push(key),
            }
        }
        match self.catalog.products(absent.iter().copied().map(id).collect(), read).await {
            Ok(found) => {
                for (key, found) in absent.into_iter().zip(found) {
                    if let Some(found) = found {
                        self.check_found(key, &found, window, "a batch");
                    }
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn ask(&self, asked: Asked, read: Read, floor: Floor) {
        let window = self.window(floor);
        let page = match asked.request() {
            Request::List(mut list) => {
                list.read = read;
                self.catalog.list(list).await
            }
            Request::Search(mut search) => {
                search.read = read;
                self.catalog.search(search).await
            }
        };
        match page {
            Ok(page) => self.check_page(asked.question, &page, window),
            Err(error) => self.failed(&error),
        }
    }

    async fn held_products(&mut self, delay: Option<Duration>, hold: Hold) {
        let keys = self.some_keys(4);
        let names = keys.iter().map(|&key| Key::item(format!("product:{}", id(key)))).collect();
        let window = self.window(Floor::default());
        let (reader, numbered) = (self.clone(), keys.clone());
        let load = move |numbers: Vec<usize>| {
            let (reader, keys) =
                (reader.clone(), numbers.into_iter().map(|number| numbered[number]).collect::<Vec<_>>());
            async move {
                let ids: Vec<String> = keys.iter().copied().map(id).collect();
                let changes = || keys.iter().map(|&key| reader.history.product_changes(key)).sum();
                let repository = reader.catalog.repository();
                let answer = Box::pin(reader.hold(delay, hold, changes, repository.get(&ids))).await?;
                let mut products: Vec<_> = answer.value.found.into_iter().map(Some).collect();
                let mut take = |id: &String| {
                    let found =
                        products.iter_mut().find(|product| product.as_ref().is_some_and(|found| found.id == *id));
                    found.and_then(Option::take).map(|product| Copy::Product(encode(product)))
                };
                Ok(read_at(ids.iter().map(&mut take).collect(), &answer.point))
            }
        };
        let found = self.catalog.cache().get_or_load_many(names, Policy::Item, ReadOptions::default(), load).await;
        match found {
            Ok(found) => {
                for (key, found) in keys.into_iter().zip(&found) {
                    let found = found.as_ref().expect("more than copies was asked for");
                    self.check_found(key, found, window, "a held load");
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn held_page(&mut self, delay: Option<Duration>, hold: Hold) {
        let asked = Asked::any(&mut self.rng);
        let (policy, request) = match asked.question {
            Question::Search(_) => (Policy::Search, asked.request()),
            _ => (Policy::List, asked.request()),
        };
        let window = self.window(Floor::default());
        let (reader, key) = (self.clone(), request.key());
        let request = Arc::new(request);
        let load = move |_| {
            let (reader, request) = (reader.clone(), Arc::clone(&request));
            async move {
                let changes = || reader.history.question_changes(asked.question);
                let repository = reader.catalog.repository();
                let (ids, point) = match &*request {
                    Request::List(list) => {
                        let answer = Box::pin(reader.hold(delay, hold, changes, repository.list(&list.query))).await?;
                        (answer.value.ids, answer.point)
                    }
                    Request::Search(search) => {
                        let answer =
                            Box::pin(reader.hold(delay, hold, changes, repository.search(&search.query))).await?;
                        (answer.value.ids, answer.point)
                    }
                };
                let page = Copy::Page(PageCopy::new(ids, None, None));
                Ok(read_at(vec![Some(page)], &point))
            }
        };
        match self.catalog.cache().get_or_load(key, policy, ReadOptions::default(), load).await {
            Ok(found) => {
                let _ = self.check_ids(asked.question, &found, window);
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Reads from the database, and goes on when it is time.
    async fn hold<T>(
        &self,
        delay: Option<Duration>,
        hold: Hold,
        changes: impl Fn() -> u64,
        read: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, LoadError> {
        if let Some(delay) = delay {
            sleep(delay).await;
        }
        let mut news = self.history.acknowledgements();
        let before = changes();
        let read = read.await.map_err(|error| LoadError::Failed(error.to_string().into()))?;
        let overtaken = async {
            while changes() == before {
                let _ = news.changed().await;
            }
        };
        match hold {
            Hold::For(millis) => sleep(Duration::from_millis(millis)).await,
            Hold::UntilChanged => drop(timeout(HOLD, overtaken).await),
            Hold::UntilProven => {
                let proven = async {
                    overtaken.await;
                    let since = self.history.now();
                    while self.window(Floor::default()).proven_before(since) {
                        sleep(Duration::from_millis(1)).await;
                    }
                };
                drop(timeout(HOLD, proven).await);
            }
        }
        if changes() != before {
            self.history.counts.raced.fetch_add(1, Ordering::Relaxed);
        }
        Ok(read)
    }

    fn some_keys(&mut self, most: usize) -> Vec<usize> {
        let keys: Vec<usize> = (0..KEYS).collect();
        let count = self.rng.random_range(1..=most);
        keys.choose_multiple(&mut self.rng, count).copied().collect()
    }

    fn check_found(&self, key: usize, found: &Found<Copy>, window: Window, what: &str) {
        let count = match (found.stale, found.tier) {
            (true, _) => &self.history.counts.stale,
            (false, Tier::L1 | Tier::L2) => &self.history.counts.hits,
            (false, Tier::Database) => return self.check_product(key, &found.entry, window, false, what),
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.check_product(key, &found.entry, window, found.stale, what);
    }

    fn check_product(&self, key: usize, entry: &Entry<Copy>, window: Window, stale: bool, what: &str) {
        let write = match &entry.value {
            None => None,
            Some(Copy::Product(bytes)) => match write_of(key, bytes) {
                Ok(write) => Some(write),
                Err(torn) => return self.history.fail(format!("{what} of {}: {torn}", id(key))),
            },
            Some(Copy::Page(_) | Copy::Unreadable(_)) => {
                return self.history.fail(format!("{what} of {}: no product", id(key)));
            }
        };
        let seen = Seen { window, stale, question: None };
        self.history.check(key, seen, || format!("{what} of {write:?}"), |state| state == write);
    }

    /// Checks which ids are on a page and which are not. Returns the ones that are.
    fn check_ids(&self, question: Question, page: &Found<Copy>, window: Window) -> BTreeSet<usize> {
        let Some(Copy::Page(ids)) = &page.entry.value else {
            self.history.fail(format!("{question:?}: not a page"));
            return BTreeSet::new();
        };
        let keys: Option<Vec<usize>> = ids.ids.iter().map(|id| key_of(id)).collect();
        let listed: BTreeSet<usize> = keys.iter().flatten().copied().collect();
        if listed.len() != ids.ids.len() {
            self.history.fail(format!("{question:?}: an id is unknown, or stands there twice: {:?}", ids.ids));
        }
        let seen = Seen { window, stale: page.stale, question: Some(question) };
        for key in 0..KEYS {
            let is_listed = listed.contains(&key);
            let what = || format!("{question:?} with{}", if is_listed { "" } else { "out" });
            let matches = |state: Option<_>| state.is_some_and(|write| question.matches(Content::of(write)));
            self.history.check(key, seen, what, |state| matches(state) == is_listed);
        }
        listed
    }

    /// Checks a page and the products on it. One that is listed and left out is a product read as absent.
    fn check_page(&self, question: Question, page: &Page, window: Window) {
        let mut listed = self.check_ids(question, &page.page, window);
        for found in &page.products {
            let product = match &found.entry.value {
                Some(Copy::Product(bytes)) => catalog::Product::decode(bytes.clone()).ok(),
                _ => None,
            };
            match product.and_then(|product| key_of(&product.id)).filter(|key| listed.remove(key)) {
                Some(key) => self.check_found(key, found, window, "a product of a list"),
                None => self.history.fail(format!("{question:?}: a product that is not listed")),
            }
        }
        let seen = Seen { window, stale: false, question: None };
        for key in listed {
            let what = || format!("a product left out of {question:?}");
            self.history.check(key, seen, what, |state| state.is_none());
        }
    }

    fn failed(&self, error: &ReadError) {
        if *error != ReadError::NotCached {
            self.history.fail(format!("a read failed: {error}"));
        }
    }
}
