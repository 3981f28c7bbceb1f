//! Rows and values.

use sqlx::{
    Decode, Encode, Postgres, Row, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgRow, PgTypeInfo, PgValueFormat, PgValueRef, types::Oid},
};

use crate::{Money, Product, ProductData, Products, StorageError, request::from_micros};

/// The columns of a product `p`, in the order that [`product`] reads them.
pub(super) const COLUMNS: &str = "p.id, p.name, p.description, p.price_currency, p.price_units, p.price_nanos, \
     p.categories, p.tags, p.attributes::text, p.image_url, p.in_stock, p.create_time, p.update_time, p.version";

/// Reads a product whose columns begin at `first`.
pub(super) fn product(row: &PgRow, first: usize) -> Result<Product, StorageError> {
    let read = read(row, first).map_err(|error| error.to_string()).and_then(Product::bearable);
    read.map_err(|why| {
        let id: String = row.try_get(first).unwrap_or_default();
        tracing::warn!(id, why, "the row of a product cannot be read");
        StorageError::Unreadable(id)
    })
}

/// Reads products whose columns begin at `first`.
pub(super) fn products<'a>(rows: impl Iterator<Item = &'a PgRow>, first: usize) -> Result<Products, StorageError> {
    Products::sort(rows.map(|row| product(row, first)))
}

fn read(row: &PgRow, first: usize) -> Result<Product, sqlx::Error> {
    let currency: String = row.try_get(first + 3)?;
    let attributes: &str = row.try_get(first + 8)?;
    let (Micros(create), Micros(update)) = (row.try_get(first + 11)?, row.try_get(first + 12)?);
    Ok(Product {
        id: row.try_get(first)?,
        data: ProductData {
            name: row.try_get(first + 1)?,
            description: row.try_get(first + 2)?,
            price: if currency.is_empty() {
                None
            } else {
                Some(Money { currency, units: row.try_get(first + 4)?, nanos: row.try_get(first + 5)? })
            },
            categories: row.try_get(first + 6)?,
            tags: row.try_get(first + 7)?,
            attributes: serde_json::from_str(attributes).map_err(|error| sqlx::Error::Decode(error.into()))?,
            image_url: row.try_get(first + 9)?,
            in_stock: row.try_get(first + 10)?,
        },
        create_time: from_micros(create),
        update_time: from_micros(update),
        version: row.try_get(first + 13)?,
    })
}

/// A `timestamptz` as microseconds since 1970: exactly what the server stores, but for the era.
#[derive(Debug, Clone, Copy)]
pub(super) struct Micros(pub(super) i64);

/// From 1970 to 2000, where PostgreSQL begins to count.
const ERA: i64 = 946_684_800_000_000;

impl Type<Postgres> for Micros {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl Decode<'_, Postgres> for Micros {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Self(i64::from_be_bytes(binary(&value)?).saturating_add(ERA)))
    }
}

impl Encode<'_, Postgres> for Micros {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend(self.0.saturating_sub(ERA).to_be_bytes());
        Ok(IsNull::No)
    }
}

/// A transaction id with its epoch, `xid8`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Xid(pub(super) u64);

impl Type<Postgres> for Xid {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(5069))
    }
}

impl PgHasArrayType for Xid {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(271))
    }
}

impl Decode<'_, Postgres> for Xid {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Self(u64::from_be_bytes(binary(&value)?)))
    }
}

impl Encode<'_, Postgres> for Xid {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend(self.0.to_be_bytes());
        Ok(IsNull::No)
    }
}

fn binary(value: &PgValueRef<'_>) -> Result<[u8; 8], BoxDynError> {
    match value.format() {
        PgValueFormat::Binary => Ok(value.as_bytes()?.try_into()?),
        PgValueFormat::Text => Err("eight bytes were expected, not text".into()),
    }
}
