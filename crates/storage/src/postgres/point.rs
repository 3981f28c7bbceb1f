//! Under what a statement read: its snapshot, and which life of the database that was.

use sqlx::{Row, postgres::PgRow};

use super::session::Session;
use crate::{Incarnation, ReadPoint, Snapshot, StorageError, driver, hash::fnv64};

/// A relation of one row, `point(snapshot, life)`. The life is empty when the unlogged table is, as after a crash.
///
/// It is made of what cannot be put back together: the server, the database, its timeline and the unlogged row are in every cold
/// copy of the files, but such a copy is put back only under a server that was stopped, and so starts again; `pg_restore --clean`
/// stops nothing, but makes other tables. Their oids are looked up by name whenever the statement runs: as constants they would
/// be those of the moment at which a connection prepared it.
pub(super) const POINT: &str = "(SELECT pg_catalog.pg_current_snapshot()::text AS snapshot, coalesce((\
     SELECT control.system_identifier::text || '/' || this.oid::text || '/' \
         || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) || '/' || life.id::text \
         || '/' || extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text \
         || '/' || coalesce(pg_catalog.to_regclass('public.products')::oid::text, '') \
         || '/' || coalesce(pg_catalog.to_regclass('public.changes')::oid::text, '') \
     FROM public.incarnation life, pg_catalog.pg_control_system() control, pg_catalog.pg_database this \
     WHERE this.datname = pg_catalog.current_database()), '') AS life OFFSET 0) AS point";

/// The same on a standby, where unlogged tables cannot be read and no life can be told.
pub(super) const STANDBY_POINT: &str =
    "(SELECT pg_catalog.pg_current_snapshot()::text AS snapshot, NULL::text AS life OFFSET 0) AS point";

/// Which of the parts of a life is the start of the server.
const START: usize = 4;

/// The lineage of the life that a statement saw: all its parts but the start of the server.
pub(super) fn lineage(row: &PgRow) -> Result<u64, StorageError> {
    let parts = row.try_get::<Option<&str>, _>(1).map_err(driver::sort)?.unwrap_or_default();
    Ok(fnv64(without_start(parts).as_bytes()))
}

fn without_start(parts: &str) -> String {
    let mut parts: Vec<_> = parts.split('/').collect();
    if parts.len() > START {
        parts.remove(START);
    }
    parts.join("/")
}

/// Which life of the database a statement saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// This one.
    Known(Incarnation),
    /// A new one that nobody has named yet.
    Unnamed,
    /// A standby cannot tell.
    Standby,
}

/// Reads the first two columns, which every statement takes from the point.
pub(super) fn read(row: &PgRow) -> Result<(Snapshot, Life), StorageError> {
    let snapshot = parse_snapshot(row.try_get::<&str, _>(0).map_err(driver::sort)?)?;
    let life = match row.try_get::<Option<&str>, _>(1).map_err(driver::sort)? {
        None => Life::Standby,
        Some("") => Life::Unnamed,
        Some(parts) => Life::Known(Incarnation(fnv64(parts.as_bytes()))),
    };
    Ok((snapshot, life))
}

impl Life {
    /// The point of a load.
    pub(super) fn point(self, snapshot: Snapshot) -> ReadPoint {
        let incarnation = match self {
            Self::Known(incarnation) => Some(incarnation),
            Self::Unnamed | Self::Standby => None,
        };
        ReadPoint { snapshot, incarnation }
    }
}

/// Names a new life. Whoever comes second changes nothing.
pub(super) async fn name_life(connection: &mut Session) -> Result<(), StorageError> {
    sqlx::query("INSERT INTO public.incarnation DEFAULT VALUES ON CONFLICT DO NOTHING")
        .execute(connection)
        .await
        .map(drop)
        .map_err(driver::sort)
}

/// Writes a snapshot as PostgreSQL does.
pub(super) fn snapshot_text(snapshot: &Snapshot) -> String {
    let in_progress: Vec<_> = snapshot.in_progress.iter().map(u64::to_string).collect();
    format!("{}:{}:{}", snapshot.xmin, snapshot.xmax, in_progress.join(","))
}

/// Parses `xmin:xmax:xip,xip,…`.
pub(super) fn parse_snapshot(text: &str) -> Result<Snapshot, StorageError> {
    let parse = || {
        let mut parts = text.split(':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let mut in_progress = Vec::new();
        for id in parts.next()?.split(',').filter(|id| !id.is_empty()) {
            in_progress.push(id.parse().ok()?);
        }
        in_progress.sort_unstable();
        Some(Snapshot { xmin, xmax, in_progress, salt: None })
    };
    parse().ok_or_else(|| StorageError::Database(format!("a snapshot that is none: {text}").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_the_server_is_no_part_of_a_lineage() {
        assert_eq!(
            without_start("7345/16384/00000001/uuid/1764331.25/16400/16410"),
            "7345/16384/00000001/uuid/16400/16410"
        );
        assert_eq!(without_start(""), "");
    }

    #[test]
    fn snapshots_are_parsed() {
        let snapshot = parse_snapshot("10:20:10,14,15").unwrap();
        assert_eq!(snapshot.in_progress, [10, 14, 15]);
        assert!(snapshot.sees(9) && snapshot.sees(13) && snapshot.sees(19));
        assert!(!snapshot.sees(10) && !snapshot.sees(14) && !snapshot.sees(20));
        assert_eq!(snapshot_text(&snapshot), "10:20:10,14,15");
        assert!(parse_snapshot("7:7:").unwrap().in_progress.is_empty());
        assert!(parse_snapshot("7:x:").is_err());
    }
}
