//! Pages read with their products, all of one snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use larder_storage::{
    Filter, ListQuery, Loaded, Money, Order, OrderField, Product, ProductData, ProductRepository, Products, Repository,
    SearchQuery, Snapshot, words,
};

use crate::{
    basics::full,
    bench::{Bench, named},
    imports::numbered,
};

/// All that the two products hold together, and how many states a reader must have met.
const SUM: i64 = 1_000_000;
const STATES: usize = 25;

fn share(units: i64, in_stock: bool) -> ProductData {
    let price = Some(Money { currency: "EUR".to_owned(), units, nanos: 0 });
    ProductData { price, in_stock, ..named("a share of the whole") }
}

/// Reads again and again, while one transaction after another moves price and stock between two products, until enough states
/// were met. A read returns the price of `left`, which names the state, and what it was read under: that must see the commit
/// that made the state, and not the next one.
async fn beside_a_mover<F>(bench: &Bench, read: impl Fn(Arc<Repository>) -> F)
where
    F: Future<Output = (i64, Snapshot)>,
{
    let shares = |units| {
        [("left".to_owned(), share(units, units % 2 == 0)), ("right".to_owned(), share(SUM - units, units % 2 != 0))]
    };
    bench.repository.import(&shares(0)).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mover = tokio::spawn({
        let (repository, stop) = (Arc::clone(&bench.repository), Arc::clone(&stop));
        async move {
            let mut commits = BTreeMap::new();
            for units in 1..=SUM {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                commits.insert(units, repository.import(&shares(units)).await.unwrap().commit.unwrap().id);
            }
            commits
        }
    });
    let (begin, mut states, mut seen) = (Instant::now(), BTreeSet::new(), Vec::new());
    while states.len() < STATES {
        assert!(begin.elapsed() < Duration::from_mins(1), "too few states: {states:?}");
        let (state, snapshot) = read(Arc::clone(&bench.repository)).await;
        states.insert(state);
        seen.push((state, snapshot));
    }
    stop.store(true, Ordering::Relaxed);
    let commits = mover.await.unwrap();
    println!("{} reads of {} states out of {}", seen.len(), states.len(), commits.len() + 1);
    for (state, snapshot) in seen {
        assert!(commits.get(&state).is_none_or(|commit| snapshot.sees(*commit)), "{state} {snapshot:?}");
        assert!(commits.get(&(state + 1)).is_none_or(|next| !snapshot.sees(*next)), "{state} {snapshot:?}");
    }
}

fn units(product: &Product) -> i64 {
    product.data.price.as_ref().expect("a price").units
}

fn ids(products: &[Product]) -> Vec<&str> {
    products.iter().map(|product| product.id.as_str()).collect()
}

/// The price of `left`, from both products as one moment had them.
fn state(products: &[Product]) -> i64 {
    let of = |id: &str| units(products.iter().find(|product| product.id == id).expect(id));
    assert_eq!(of("left") + of("right"), SUM, "{products:?}");
    assert_eq!(products.iter().filter(|product| product.data.in_stock).count(), 1, "{products:?}");
    of("left")
}

pub(crate) async fn a_whole_list_is_of_one_snapshot(bench: Bench) {
    let order = Order { field: OrderField::Price, descending: false };
    beside_a_mover(&bench, async |repository| {
        let query = ListQuery { filter: Filter::default(), order, after: None, limit: 10, count: true };
        let Loaded { value: (page, Products { found: products, .. }), point } =
            repository.list_whole(&query).await.unwrap();
        assert_eq!((page.total, page.next), (Some(2), None));
        assert_eq!(ids(&products), page.ids);
        assert!(units(&products[0]) <= units(&products[1]), "{products:?}");
        (state(&products), point.snapshot)
    })
    .await;
}

pub(crate) async fn a_whole_list_holds_what_its_filter_selects(bench: Bench) {
    beside_a_mover(&bench, async |repository| {
        let filter = Filter { in_stock: Some(true), ..Filter::default() };
        let query = ListQuery { filter, order: Order::default(), after: None, limit: 10, count: true };
        let Loaded { value: (page, Products { found: products, .. }), point } =
            repository.list_whole(&query).await.unwrap();
        assert_eq!(page.total, Some(1));
        assert_eq!(ids(&products), page.ids);
        let product = &products[0];
        assert!(product.data.in_stock && products.len() == 1, "{products:?}");
        (if product.id == "left" { units(product) } else { SUM - units(product) }, point.snapshot)
    })
    .await;
}

pub(crate) async fn a_whole_search_is_of_one_snapshot(bench: Bench) {
    beside_a_mover(&bench, async |repository| {
        let query = SearchQuery { words: words("share"), filter: Filter::default(), after: None, limit: 10 };
        let Loaded { value: (page, Products { found: products, .. }), point } =
            repository.search_whole(&query).await.unwrap();
        assert_eq!(page.next, None);
        assert_eq!(ids(&products), page.ids);
        (state(&products), point.snapshot)
    })
    .await;
}

/// Whole pages are the pages of [`ProductRepository::list`] and [`ProductRepository::search`], with what
/// [`ProductRepository::get`] returns.
pub(crate) async fn whole_pages_are_like_others(bench: Bench) {
    bench.repository.import(&numbered(60)).await.unwrap();
    bench.create("full", &full()).await;
    let fields = [OrderField::Id, OrderField::CreateTime, OrderField::UpdateTime, OrderField::Name, OrderField::Price];
    for (field, count, category) in
        fields.into_iter().flat_map(|field| [(field, false, None), (field, true, Some("books".to_owned()))])
    {
        let filter = Filter { category, ..Filter::default() };
        let order = Order { field, descending: count };
        let mut query = ListQuery { filter, order, after: None, limit: 7, count };
        loop {
            let page = bench.repository.list(&query).await.unwrap().value;
            let whole = bench.repository.list_whole(&query).await.unwrap();
            assert!(whole.point.incarnation.is_some());
            assert_eq!(whole.value, (page.clone(), whole_products(&bench, &page.ids).await), "{query:?}");
            let Some(next) = page.next else { break };
            query.after = Some(next);
        }
    }
    let mut query = SearchQuery { words: words("product"), filter: Filter::default(), after: None, limit: 25 };
    loop {
        let page = bench.repository.search(&query).await.unwrap().value;
        assert!(!page.ids.is_empty());
        let whole = bench.repository.search_whole(&query).await.unwrap().value;
        assert_eq!(whole, (page.clone(), whole_products(&bench, &page.ids).await), "{query:?}");
        let Some(next) = page.next else { break };
        query.after = Some(next);
    }
    let nothing = Filter { tag: Some("of nothing".to_owned()), ..Filter::default() };
    let query = ListQuery { filter: nothing, order: Order::default(), after: None, limit: 7, count: true };
    let Loaded { value: (page, Products { found: products, .. }), point } =
        bench.repository.list_whole(&query).await.unwrap();
    assert_eq!((page.total, page.ids.len(), products.len()), (Some(0), 0, 0));
    assert!(point.incarnation.is_some());
}

async fn whole_products(bench: &Bench, ids: &[String]) -> Products {
    Products { found: in_order(bench, ids).await, unreadable: Vec::new() }
}

async fn in_order(bench: &Bench, ids: &[String]) -> Vec<Product> {
    let mut products = bench.repository.get(ids).await.unwrap().value.found;
    products.sort_by_key(|product| ids.iter().position(|id| *id == product.id));
    products
}
