//! A probe of whether the database takes writes.

use std::time::Duration;

use larder_storage::{Creation, ProductData, ProductRepository as _, StorageError, WriteOptions};

use super::Catalog;

impl Catalog {
    /// Writes a product and reads it back, in a transaction that is rolled back. Returns the time it took.
    pub async fn probe(&self) -> Result<Duration, StorageError> {
        #[expect(clippy::disallowed_methods, reason = "an id that no product has")]
        let id = format!("larder-probe-{:032x}", rand::random::<u128>());
        let data = ProductData { name: "Probe".to_owned(), ..ProductData::default() };
        let options = WriteOptions { request_id: None, validate_only: true };
        let (repository, clock) = (self.repository.clone(), self.cache.clock().clone());
        let probe = self.runtime.spawn(async move {
            let began = clock.now();
            let created = repository.create(&id, &data, &options).await?.value;
            Ok((created, clock.now().since(began)))
        });
        match probe.await.unwrap_or_else(|error| Err(StorageError::Unavailable(error.into())))? {
            (Creation::Created(_), took) => Ok(took),
            (Creation::Exists | Creation::RequestIdReused, _) => {
                Err(StorageError::Database("the probe found another product in its place".into()))
            }
        }
    }

    /// Rows of the change log.
    pub async fn log_rows(&self) -> Result<u64, StorageError> {
        let repository = self.repository.clone();
        let count = self.runtime.spawn(async move { repository.log_rows().await });
        count.await.unwrap_or_else(|error| Err(StorageError::Unavailable(error.into())))
    }
}
