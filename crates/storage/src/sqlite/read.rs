//! Loads: each one statement that returns rows and the point they were read at.

use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool, sqlite::SqliteRow};
use tokio::time::timeout;

use super::{
    SqliteRepository,
    reader::Reader,
    row::{self, COLUMNS, number},
};
use crate::{
    Filter, ListPage, ListPosition, ListQuery, Loaded, Order, OrderField, Products, ReadPoint, SearchPage, SearchQuery,
    SearchRank, Snapshot, SortValue, StorageError, Witness, driver, search::Terms,
};

type Sql = QueryBuilder<Sqlite>;

/// Added to the rank of a product that lacks some of the words: below all that have them, and negative.
const PARTIAL: f64 = -1e6;

/// A relation of one row, `point(newest, salt, life)`. The salt is NULL when the log is empty.
const POINT: &str = "(SELECT coalesce((SELECT max(id) FROM changes), 0) AS newest, \
     (SELECT salt FROM changes ORDER BY id DESC LIMIT 1) AS salt, (SELECT id FROM incarnation) AS life) AS point";
/// Columns of the point, which come first in every load.
const POINT_COLUMNS: &str = "point.newest, point.salt, point.life";
/// Where the columns of what is loaded begin.
const FIRST: usize = 3;

impl SqliteRepository {
    pub(super) async fn get_products(&self, ids: &[String]) -> Result<Loaded<Products>, StorageError> {
        let mut sql = Sql::new(format!("SELECT {POINT_COLUMNS}, {COLUMNS} FROM {POINT} LEFT JOIN (json_each("));
        sql.push_bind(super::write::json(&ids)).push(") j CROSS JOIN products p ON p.id = j.value) ON true");
        let (point, rows) = self.load(sql, Reach::Rows).await?;
        let value = row::products(present(&rows), FIRST)?;
        Ok(Loaded { value, point })
    }

    pub(super) async fn list_page(&self, query: &ListQuery) -> Result<Loaded<ListPage>, StorageError> {
        let (point, rows) = self.load(list_sql(query, Whole::No), Reach::Table).await?;
        Ok(Loaded { value: list_page(query, &rows)?, point })
    }

    pub(super) async fn whole_list(&self, query: &ListQuery) -> Result<Loaded<(ListPage, Products)>, StorageError> {
        let (point, rows) = self.load(list_sql(query, Whole::Yes), Reach::Table).await?;
        let page = list_page(query, &rows)?;
        // The products come last, after the point, what the order needs, and the total.
        let first = FIRST + 1 + columns(query.order.field).len() + usize::from(query.count);
        let products = products(&rows, first, page.ids.len())?;
        Ok(Loaded { value: (page, products), point })
    }

    /// A rank (bm25) also depends on how often the words occur in all products. While others are written it drifts a little, so
    /// that a product close to the end of a page may then be met twice or not at all; without writes the pages are exact.
    pub(super) async fn search_page(&self, query: &SearchQuery) -> Result<Loaded<SearchPage>, StorageError> {
        let (point, rows) = self.load(search_sql(query, Whole::No), Reach::Table).await?;
        Ok(Loaded { value: search_page(query, &rows)?, point })
    }

    pub(super) async fn whole_search(
        &self,
        query: &SearchQuery,
    ) -> Result<Loaded<(SearchPage, Products)>, StorageError> {
        let (point, rows) = self.load(search_sql(query, Whole::Yes), Reach::Table).await?;
        let page = search_page(query, &rows)?;
        let products = products(&rows, FIRST + 2, page.ids.len())?;
        Ok(Loaded { value: (page, products), point })
    }

    pub(super) async fn scan_products(
        &self,
        filter: &Filter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Products, StorageError> {
        let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM "));
        let id = push_from(&mut sql, filter);
        push_filter(&mut sql, filter);
        if let Some(after) = after {
            sql.push(format!(" AND {id} > ")).push_bind(after);
        }
        sql.push(format!(" ORDER BY {id} LIMIT ")).push_bind(i64::from(limit));
        let rows = self.fetch(&self.current().await?.readers, sql, Reach::Table).await?;
        row::products(rows.iter(), 0)
    }

    /// Runs a statement whose first columns are the point. What another life of the file returned is of no incarnation: it may be
    /// served, not kept.
    async fn load(&self, sql: Sql, reach: Reach) -> Result<(ReadPoint, Vec<SqliteRow>), StorageError> {
        let database = self.opened();
        let begun = self.seen.begin();
        let rows = self.fetch(&database.readers, sql, reach).await?;
        let Some(first) = rows.first() else {
            return Err(StorageError::Database("a load returned no row".into()));
        };
        let newest = number(first.try_get(0).map_err(driver::sort)?);
        let salt = first.try_get::<Option<i64>, _>(1).map_err(driver::sort)?.map(i64::cast_unsigned);
        let life = first.try_get::<Option<&str>, _>(2).map_err(driver::sort)?;
        let incarnation = database.incarnation(life.unwrap_or_default());
        let kept = match salt.filter(|_| life.is_some()) {
            Some(salt) => self.is_of_this_life(&database, begun, incarnation, Witness { id: newest, salt }).await?,
            None => false,
        };
        let xmax = newest + 1;
        let snapshot = Snapshot { xmin: xmax, xmax, in_progress: Vec::new(), salt };
        // Asked after the read: a file that was renamed away or replaced is nobody's truth, and its rows may be of any age.
        let kept = kept && self.is_in_place(&database).unwrap_or(false);
        Ok((ReadPoint { snapshot, incarnation: kept.then_some(incarnation) }, rows))
    }

    /// Reads to the end: a statement left in the middle would hold its snapshot.
    async fn fetch(&self, readers: &SqlitePool, mut sql: Sql, reach: Reach) -> Result<Vec<SqliteRow>, StorageError> {
        let query = async {
            match reach {
                Reach::Rows => sql.build().fetch_all(readers).await,
                Reach::Table => Reader::acquire(readers).await?.fetch_all(sql).await,
            }
        };
        match timeout(self.place.statement_timeout, query).await {
            Ok(rows) => rows.map_err(driver::sort),
            Err(elapsed) => Err(StorageError::Timeout(elapsed.into())),
        }
    }
}

/// How much a statement reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The rows of given ids.
    Rows,
    /// Any part of the table, which may take long.
    Table,
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
            Self::Yes => " LEFT JOIN products p ON p.id = page.id",
        }
    }
}

/// The rows that hold more than the point.
fn present(rows: &[SqliteRow]) -> impl Iterator<Item = &SqliteRow> {
    rows.iter().filter(|row| !matches!(row.try_get::<Option<&str>, _>(FIRST), Ok(None)))
}

fn list_page(query: &ListQuery, rows: &[SqliteRow]) -> Result<ListPage, StorageError> {
    let total = match rows.first() {
        Some(row) if query.count => row.try_get("total").map_err(driver::sort)?,
        _ => None,
    };
    let limit = query.limit as usize;
    let mut ids = Vec::with_capacity(limit.min(rows.len()));
    for row in present(rows).take(limit) {
        ids.push(row.try_get(FIRST).map_err(driver::sort)?);
    }
    let next = match rows.get(limit.wrapping_sub(1)) {
        Some(last) if rows.len() > limit => Some(position(query.order.field, last).map_err(driver::sort)?),
        _ => None,
    };
    Ok(ListPage { ids, next, total })
}

fn search_page(query: &SearchQuery, rows: &[SqliteRow]) -> Result<SearchPage, StorageError> {
    let limit = query.limit as usize;
    let mut found: Vec<(SearchRank, String)> = Vec::with_capacity(limit.min(rows.len()));
    for row in present(rows).take(limit) {
        let rank = SearchRank(row.try_get(FIRST + 1).map_err(driver::sort)?);
        found.push((rank, row.try_get(FIRST).map_err(driver::sort)?));
    }
    let next = if rows.len() > limit { found.last().cloned() } else { None };
    let ids = found.into_iter().map(|(_, id)| id).collect();
    Ok(SearchPage { ids, next })
}

/// The products of a page, whose columns begin at `first`. The row after the page only tells that there is one.
fn products(rows: &[SqliteRow], first: usize, number: usize) -> Result<Products, StorageError> {
    row::products(present(rows).take(number), first)
}

fn list_sql(query: &ListQuery, whole: Whole) -> Sql {
    let columns = columns(query.order.field);
    let mut sql = Sql::new(format!("SELECT {POINT_COLUMNS}, page.*"));
    if query.count {
        sql.push(", (SELECT count(*) FROM ");
        push_from(&mut sql, &query.filter);
        push_filter(&mut sql, &query.filter);
        sql.push(") AS total");
    }
    // The id is selected, compared and ordered by where the filter's index has it.
    let id = match (&query.filter.category, &query.filter.tag) {
        (Some(_), _) => "c.id",
        (None, Some(_)) => "t.id",
        (None, None) => "p.id",
    };
    let select: Vec<String> = columns.iter().map(|column| format!(", p.{column}")).collect();
    sql.push(whole.columns());
    sql.push(format!(" FROM {POINT} LEFT JOIN (SELECT {id} AS id{} FROM ", select.concat()));
    push_from(&mut sql, &query.filter);
    push_filter(&mut sql, &query.filter);
    if let Some(after) = &query.after {
        push_after(&mut sql, columns, id, after, query.order);
    }
    sql.push(order_by(columns, "p.", id, query.order));
    sql.push(" LIMIT ").push_bind(i64::from(query.limit) + 1).push(") page ON true").push(whole.join());
    sql.push(order_by(columns, "page.", "page.id", query.order));
    sql
}

fn search_sql(query: &SearchQuery, whole: Whole) -> Sql {
    // A word is letters, digits and vowel signs, so that quoting it is enough; every word may go on.
    let terms = Terms::new(&query.words, |word| format!("\"{word}\"*"), " AND ", " OR ");
    let mut sql =
        Sql::new(format!("SELECT {POINT_COLUMNS}, page.id, page.rank{} FROM {POINT} LEFT JOIN (", whole.columns()));
    match (&terms.most, &query.after) {
        // Pages after the first go on as the first one did: the rank tells.
        (Some(most), Some((rank, _))) if rank.0 < 0.0 => push_found(&mut sql, query, most, PARTIAL, ""),
        (None, _) | (Some(_), Some(_)) => push_found(&mut sql, query, &terms.all, 0.0, ""),
        (Some(most), None) => {
            sql.push("WITH found_all AS MATERIALIZED (");
            push_found(&mut sql, query, &terms.all, 0.0, "");
            sql.push(") SELECT id, rank FROM found_all UNION ALL ");
            // Outermost, so that nothing is looked for when there is no need.
            push_found(
                &mut sql,
                query,
                most,
                PARTIAL,
                "(SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM found_all)) CROSS JOIN ",
            );
        }
    }
    sql.push(" ORDER BY rank DESC, id LIMIT ")
        .push_bind(i64::from(query.limit) + 1)
        .push(format!(") page ON true{} ORDER BY page.rank DESC, page.id", whole.join()));
    sql
}

/// The products after the page before that match `terms`.
fn push_found(sql: &mut Sql, query: &SearchQuery, terms: &str, offset: f64, condition: &str) {
    sql.push("SELECT found.id, found.rank FROM (SELECT p.id AS id, -bm25(product_words, 10.0, 4.0, 1.0) + ")
        .push_bind(offset);
    sql.push(format!(" AS rank FROM {condition}product_words w CROSS JOIN "));
    push_from(sql, &query.filter);
    push_filter(sql, &query.filter);
    sql.push(" AND p.number = w.rowid AND product_words MATCH ").push_bind(terms.to_owned());
    sql.push(") found");
    if let Some((SearchRank(rank), id)) = &query.after {
        sql.push(" WHERE (found.rank < ").push_bind(*rank);
        sql.push(" OR (found.rank = ").push_bind(*rank);
        sql.push(" AND found.id > ").push_bind(id.clone()).push("))");
    }
}

/// What the order needs besides the id.
fn columns(field: OrderField) -> &'static [&'static str] {
    match field {
        OrderField::Id => &[],
        OrderField::CreateTime => &["create_time"],
        OrderField::UpdateTime => &["update_time"],
        OrderField::Name => &["name"],
        OrderField::Price => &["price_currency", "price_units", "price_nanos"],
    }
}

fn order_by(columns: &[&str], relation: &str, id: &str, order: Order) -> String {
    let direction = if order.descending { " DESC" } else { "" };
    let mut keys: Vec<String> = columns.iter().map(|column| format!("{relation}{column}{direction}")).collect();
    keys.push(format!("{id}{direction}"));
    format!(" ORDER BY {}", keys.join(", "))
}

fn push_after(sql: &mut Sql, columns: &[&str], id: &str, after: &ListPosition, order: Order) {
    let sign = if order.descending { "<" } else { ">" };
    sql.push(" AND (");
    for column in columns {
        sql.push(format!("p.{column}, "));
    }
    sql.push(format!("{id}) {sign} ("));
    match &after.value {
        SortValue::Id => {}
        SortValue::Micros(micros) => {
            sql.push_bind(*micros).push(", ");
        }
        SortValue::Name(name) => {
            sql.push_bind(name.clone()).push(", ");
        }
        SortValue::RawName(name) => {
            sql.push("CAST(").push_bind(name.clone()).push(" AS TEXT), ");
        }
        SortValue::Price { currency, units, nanos } => {
            sql.push_bind(currency.clone()).push(", ");
            sql.push_bind(*units).push(", ");
            sql.push_bind(*nanos).push(", ");
        }
    }
    sql.push_bind(after.id.clone()).push(")");
}

/// Names the relations that a filter needs, first the one whose index has the ids of its category or tag in order. Returns the id
/// to order by. Ends in a WHERE.
fn push_from(sql: &mut Sql, filter: &Filter) -> &'static str {
    let mut id = "p.id";
    let mut relations: Vec<&'static str> = Vec::new();
    if filter.tag.is_some() {
        id = "t.id";
        relations.push("product_terms t");
    }
    if filter.category.is_some() {
        id = "c.id";
        relations.insert(0, "product_terms c");
    }
    relations.push("products p");
    sql.push(relations.join(" JOIN ")).push(" WHERE true");
    if let Some(category) = &filter.category {
        sql.push(" AND c.id = p.id AND c.kind = 'category' AND c.term = ").push_bind(category.clone());
        if filter.tag.is_some() {
            sql.push(" AND t.id = c.id");
        }
    }
    if let Some(tag) = &filter.tag {
        sql.push(" AND t.id = p.id AND t.kind = 'tag' AND t.term = ").push_bind(tag.clone());
    }
    id
}

fn push_filter(sql: &mut Sql, filter: &Filter) {
    if let Some(in_stock) = filter.in_stock {
        sql.push(" AND p.in_stock = ").push_bind(in_stock);
    }
    if let Some(range) = &filter.price {
        sql.push(" AND p.price_currency = ").push_bind(range.currency.clone());
        for (sign, bound) in [(">=", range.min), ("<=", range.max)] {
            if let Some((units, nanos)) = bound {
                sql.push(format!(" AND (p.price_units, p.price_nanos) {sign} ("));
                sql.push_bind(units).push(", ");
                sql.push_bind(nanos).push(")");
            }
        }
    }
}

fn position(field: OrderField, row: &SqliteRow) -> Result<ListPosition, sqlx::Error> {
    let value = match field {
        OrderField::Id => SortValue::Id,
        OrderField::CreateTime | OrderField::UpdateTime => SortValue::Micros(row.try_get(FIRST + 1)?),
        OrderField::Name => match String::from_utf8(row.try_get(FIRST + 1)?) {
            Ok(name) => SortValue::Name(name),
            Err(raw) => SortValue::RawName(raw.into_bytes()),
        },
        OrderField::Price => SortValue::Price {
            currency: row.try_get(FIRST + 1)?,
            units: row.try_get(FIRST + 2)?,
            nanos: row.try_get(FIRST + 3)?,
        },
    };
    Ok(ListPosition { value, id: row.try_get(FIRST)? })
}
