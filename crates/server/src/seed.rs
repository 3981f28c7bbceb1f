//! tmp
use larder_storage::Repository;
pub(crate) async fn load(_: &Repository) -> Result<(), String> {
    Ok(())
}
