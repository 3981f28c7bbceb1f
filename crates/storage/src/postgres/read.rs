//! Loads: each one statement that returns rows and the point they were read at.

use sqlx::{Postgres, QueryBuilder, Row, postgres::PgRow};

use super::{
    PostgresRepository,
    point::{self, Life, POINT, STANDBY_POINT},
    row::{self, COLUMNS, Micros},
};
use crate::{
    Filter, ListPage, ListPosition, ListQuery, Loaded, Order, OrderField, Products, ReadPoint, SearchPage, SearchQuery,
    SearchRank, SortValue, StorageError, driver, search::Terms,
};

type Sql = QueryBuilder<Postgres>;

/// Added to the rank of a product that lacks some of the words: below all that have them, and negative.
const PARTIAL: f64 = -1e6;

impl PostgresRepository {
    pub(super) async fn get_products(&self, ids: &[String]) -> Result<Loaded<Products>, StorageError> {
        let (point, rows) = self
            .load(|point| {
                let mut sql = Sql::new(format!(
                    "SELECT point.snapshot, point.life, {COLUMNS} FROM {point} LEFT JOIN public.products p ON p.id = ANY("
                ));
                sql.push_bind(ids).push(")");
                sql
            })
            .await?;
        let value = row::products(present(&rows), 2)?;
        Ok(Loaded { value, point })
    }

    pub(super) async fn list_page(&self, query: &ListQuery) -> Result<Loaded<ListPage>, StorageError> {
        let (point, rows) = self.load(|point| list_sql(query, point, Whole::No)).await?;
        Ok(Loaded { value: list_page(query, &rows)?, point })
    }

    pub(super) async fn whole_list(&self, query: &ListQuery) -> Result<Loaded<(ListPage, Products)>, StorageError> {
        let (point, rows) = self.load(|point| list_sql(query, point, Whole::Yes)).await?;
        let page = list_page(query, &rows)?;
        // The products come last, after the point, what the order needs, and the total.
        let first = 2 + columns(query.order.field).len() + usize::from(query.count);
        let products = products(&rows, first, page.ids.len())?;
        Ok(Loaded { value: (page, products), point })
    }

    /// The rank of a product depends on the product and the words alone, so that pages stay consistent while others change.
    pub(super) async fn search_page(&self, query: &SearchQuery) -> Result<Loaded<SearchPage>, StorageError> {
        let (point, rows) = self.load(|point| search_sql(query, point, Whole::No)).await?;
        Ok(Loaded { value: search_page(query, &rows)?, point })
    }

    pub(super) async fn whole_search(
        &self,
        query: &SearchQuery,
    ) -> Result<Loaded<(SearchPage, Products)>, StorageError> {
        let (point, rows) = self.load(|point| search_sql(query, point, Whole::Yes)).await?;
        let page = search_page(query, &rows)?;
        let products = products(&rows, 4, page.ids.len())?;
        Ok(Loaded { value: (page, products), point })
    }

    pub(super) async fn scan_products(
        &self,
        filter: &Filter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Products, StorageError> {
        let build = |_: &'static str| {
            let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM public.products p WHERE true"));
            push_filter(&mut sql, filter);
            if let Some(after) = after {
                sql.push(" AND p.id > ").push_bind(after);
            }
            sql.push(" ORDER BY p.id LIMIT ").push_bind(i64::from(limit));
            sql
        };
        let rows = self.fetch(build, POINT).await.map_err(driver::sort)?;
        row::products(rows.iter(), 0)
    }

    /// Runs a statement whose first two columns are the point. A new life is named first; on a standby the statement is run
    /// without one.
    async fn load(
        &self,
        build: impl Fn(&'static str) -> Sql + Send + Sync,
    ) -> Result<(ReadPoint, Vec<PgRow>), StorageError> {
        let mut named = false;
        loop {
            let rows = match self.fetch(&build, POINT).await {
                Err(error) if driver::on_standby(&error) => self.fetch(&build, STANDBY_POINT).await,
                result => result,
            }
            .map_err(driver::sort)?;
            let Some(first) = rows.first() else {
                return Err(StorageError::Database("a load returned no row".into()));
            };
            let (snapshot, life) = point::read(first)?;
            if life == Life::Unnamed && !named {
                named = true;
                let mut connection = self.acquire().await.map_err(driver::sort)?;
                point::name_life(&mut connection).await?;
                continue;
            }
            return Ok((life.point(snapshot), rows));
        }
    }

    /// Runs a statement that only reads, again while it only meets connections that were lost.
    async fn fetch(
        &self,
        build: impl Fn(&'static str) -> Sql + Send + Sync,
        point: &'static str,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut attempts = self.connections.attempts();
        loop {
            let mut connection = self.acquire().await?;
            let (pid, mut sql) = (connection.pid(), build(point));
            let statement = sql.build().fetch_all(&mut *connection);
            match self.connections.unless_dead(pid, statement).await {
                Err(error) if attempts > 1 && driver::connection_lost(&error) => attempts -= 1,
                result => return result,
            }
        }
    }
}

/// Whether a page is read with its products. They are joined in the same statement, which is what makes both of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    No,
    Yes,
}

impl Whole {
    fn columns(self) -> String {
        match self {
            Self::No => String::new(),
            Self::Yes => format!(", {COLUMNS}"),
        }
    }

    fn join(self) -> &'static str {
        match self {
            Self::No => "",
            Self::Yes => " LEFT JOIN public.products p ON p.id = page.id",
        }
    }
}

/// The rows that hold more than the point.
fn present(rows: &[PgRow]) -> impl Iterator<Item = &PgRow> {
    rows.iter().filter(|row| !matches!(row.try_get::<Option<&str>, _>(2), Ok(None)))
}

fn list_page(query: &ListQuery, rows: &[PgRow]) -> Result<ListPage, StorageError> {
    let total = match rows.first() {
        Some(row) if query.count => row.try_get("total").map_err(driver::sort)?,
        _ => None,
    };
    let limit = query.limit as usize;
    let mut ids = Vec::with_capacity(limit.min(rows.len()));
    for row in present(rows).take(limit) {
        ids.push(row.try_get(2).map_err(driver::sort)?);
    }
    let next = match rows.get(limit.wrapping_sub(1)) {
        Some(last) if rows.len() > limit => Some(position(query.order.field, last).map_err(driver::sort)?),
        _ => None,
    };
    Ok(ListPage { ids, next, total })
}

fn search_page(query: &SearchQuery, rows: &[PgRow]) -> Result<SearchPage, StorageError> {
    let limit = query.limit as usize;
    let mut found: Vec<(SearchRank, String)> = Vec::with_capacity(limit.min(rows.len()));
    for row in present(rows).take(limit) {
        let rank = SearchRank(row.try_get(3).map_err(driver::sort)?);
        found.push((rank, row.try_get(2).map_err(driver::sort)?));
    }
    let next = if rows.len() > limit { found.last().cloned() } else { None };
    let ids = found.into_iter().map(|(_, id)| id).collect();
    Ok(SearchPage { ids, next })
}

/// The products of a page, whose columns begin at `first`. The row after the page only tells that there is one.
fn products(rows: &[PgRow], first: usize, number: usize) -> Result<Products, StorageError> {
    row::products(present(rows).take(number), first)
}

fn list_sql(query: &ListQuery, point: &'static str, whole: Whole) -> Sql {
    let columns = columns(query.order.field);
    let select: Vec<String> = columns.iter().map(|column| format!("p.{column}")).collect();
    let mut sql = Sql::new("SELECT point.snapshot, point.life, page.*");
    if query.count {
        sql.push(", counted.total");
    }
    sql.push(format!(
        "{} FROM {point} LEFT JOIN LATERAL (SELECT {} FROM public.products p WHERE true",
        whole.columns(),
        select.join(", ")
    ));
    push_filter(&mut sql, &query.filter);
    if let Some(after) = &query.after {
        push_after(&mut sql, &columns, after, query.order);
    }
    sql.push(order_by(&columns, "p", query.order));
    sql.push(" LIMIT ").push_bind(i64::from(query.limit) + 1).push(") page ON true").push(whole.join());
    if query.count {
        sql.push(" LEFT JOIN LATERAL (SELECT count(*) AS total FROM public.products p WHERE true");
        push_filter(&mut sql, &query.filter);
        sql.push(") counted ON true");
    }
    sql.push(order_by(&columns, "page", query.order));
    sql
}

fn search_sql(query: &SearchQuery, point: &'static str, whole: Whole) -> Sql {
    // A word is letters, digits and vowel signs, so that quoting it is enough; every word may go on.
    let terms = Terms::new(&query.words, |word| format!("'{word}':*"), " & ", " | ");
    let mut sql = Sql::new(format!(
        "SELECT point.snapshot, point.life, page.id, page.rank{} FROM {point} LEFT JOIN LATERAL (",
        whole.columns()
    ));
    match (&terms.most, &query.after) {
        // Pages after the first go on as the first one did: the rank tells.
        (Some(most), Some((rank, _))) if rank.0 < 0.0 => push_found(&mut sql, query, most, &terms.any, PARTIAL),
        (None, _) | (Some(_), Some(_)) => push_found(&mut sql, query, &terms.all, &terms.all, 0.0),
        (Some(most), None) => {
            sql.push("WITH found_all AS MATERIALIZED (");
            push_found(&mut sql, query, &terms.all, &terms.all, 0.0);
            sql.push(") SELECT id, rank FROM found_all UNION ALL SELECT id, rank FROM (");
            push_found(&mut sql, query, most, &terms.any, PARTIAL);
            sql.push(") found_most WHERE NOT EXISTS (SELECT 1 FROM found_all)");
        }
    }
    sql.push(" ORDER BY rank DESC, id LIMIT ")
        .push_bind(i64::from(query.limit) + 1)
        .push(format!(") page ON true{} ORDER BY page.rank DESC, page.id", whole.join()));
    sql
}

/// The products after the page before that match `terms`, ranked by how they match `rank_by`.
fn push_found(sql: &mut Sql, query: &SearchQuery, terms: &str, rank_by: &str, offset: f64) {
    sql.push("SELECT found.id, found.rank FROM (SELECT p.id, pg_catalog.ts_rank(p.search, ")
        .push_bind(rank_by.to_owned());
    sql.push("::pg_catalog.tsquery)::float8 + ").push_bind(offset);
    sql.push("::float8 AS rank FROM public.products p WHERE p.search @@ ").push_bind(terms.to_owned());
    sql.push("::pg_catalog.tsquery");
    push_filter(sql, &query.filter);
    sql.push(") found");
    if let Some((SearchRank(rank), id)) = &query.after {
        sql.push(" WHERE (found.rank < ").push_bind(*rank);
        sql.push(" OR (found.rank = ").push_bind(*rank);
        sql.push(" AND found.id > ").push_bind(id.clone()).push("))");
    }
}

/// The id, which every position has, and what the order needs besides.
fn columns(field: OrderField) -> Vec<&'static str> {
    match field {
        OrderField::Id => vec!["id"],
        OrderField::CreateTime => vec!["id", "create_time"],
        OrderField::UpdateTime => vec!["id", "update_time"],
        OrderField::Name => vec!["id", "name"],
        OrderField::Price => vec!["id", "price_currency", "price_units", "price_nanos"],
    }
}

fn order_by(columns: &[&str], relation: &str, order: Order) -> String {
    let direction = if order.descending { " DESC" } else { "" };
    let keys: Vec<String> = sorted(columns).map(|column| format!("{relation}.{column}{direction}")).collect();
    format!(" ORDER BY {}", keys.join(", "))
}

/// The columns in the order in which they sort: the id last.
fn sorted<'a>(columns: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    columns[1..].iter().chain(&columns[..1]).copied()
}

fn push_after(sql: &mut Sql, columns: &[&str], after: &ListPosition, order: Order) {
    let keys: Vec<String> = sorted(columns).map(|column| format!("p.{column}")).collect();
    let sign = if order.descending { "<" } else { ">" };
    sql.push(format!(" AND ({}) {sign} (", keys.join(", ")));
    match &after.value {
        SortValue::Id => {}
        SortValue::Micros(micros) => {
            sql.push_bind(Micros(*micros)).push(", ");
        }
        SortValue::Name(name) => {
            sql.push_bind(name.as_str()).push(", ");
        }
        SortValue::RawName(name) => {
            sql.push_bind(String::from_utf8_lossy(name).into_owned()).push(", ");
        }
        SortValue::Price { currency, units, nanos } => {
            sql.push_bind(currency.as_str()).push(", ");
            sql.push_bind(*units).push(", ");
            sql.push_bind(*nanos).push(", ");
        }
    }
    sql.push_bind(after.id.as_str()).push(")");
}

fn push_filter(sql: &mut Sql, filter: &Filter) {
    if let Some(category) = &filter.category {
        sql.push(" AND p.categories @> ").push_bind(vec![category.as_str()]);
    }
    if let Some(tag) = &filter.tag {
        sql.push(" AND p.tags @> ").push_bind(vec![tag.as_str()]);
    }
    if let Some(in_stock) = filter.in_stock {
        sql.push(" AND p.in_stock = ").push_bind(in_stock);
    }
    if let Some(range) = &filter.price {
        sql.push(" AND p.price_currency = ").push_bind(range.currency.as_str());
        for (sign, bound) in [(">=", range.min), ("<=", range.max)] {
            if let Some((units, nanos)) = bound {
                sql.push(format!(" AND (p.price_units, p.price_nanos) {sign} ("));
                sql.push_bind(units).push(", ");
                sql.push_bind(nanos).push(")");
            }
        }
    }
}

fn position(field: OrderField, row: &PgRow) -> Result<ListPosition, sqlx::Error> {
    let value = match field {
        OrderField::Id => SortValue::Id,
        OrderField::CreateTime | OrderField::UpdateTime => SortValue::Micros(row.try_get::<Micros, _>(3)?.0),
        OrderField::Name => SortValue::Name(row.try_get(3)?),
        OrderField::Price => {
            SortValue::Price { currency: row.try_get(3)?, units: row.try_get(4)?, nanos: row.try_get(5)? }
        }
    };
    Ok(ListPosition { value, id: row.try_get(2)? })
}
