//! The first products of an empty database.

use larder_storage::{ProductRepository as _, Repository};

use crate::{contract::parse_import, json::from_json, sample::SAMPLE};

/// Products written in one transaction.
const BATCH: usize = 500;

/// Loads the sample catalogue, unless there is a product already.
pub(crate) async fn load(repository: &Repository) -> Result<(), String> {
    if !repository.is_empty().await.map_err(|error| error.to_string())? {
        return Ok(());
    }
    let parse = |line: &str| parse_import(from_json(line)?).map_err(|violations| violations.to_string());
    let products = SAMPLE.lines().map(parse).collect::<Result<Vec<_>, String>>()?;
    for batch in products.chunks(BATCH) {
        repository.import(batch).await.map_err(|error| error.to_string())?;
    }
    tracing::info!(products = products.len(), "sample catalogue loaded into the empty database");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_product_keeps_to_the_contract() {
        for line in SAMPLE.lines() {
            assert_eq!(from_json(line).map(|product| parse_import(product).err()), Ok(None), "{line}");
        }
    }
}
