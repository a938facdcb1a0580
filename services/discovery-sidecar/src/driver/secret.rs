//! Secrets of registries: files that are read at every connecting, so that a renewed one is taken up without a restart.

use bcs_schemas::resource::cluster::SecretRef;

/// What the file holds, or which one cannot be read. Its contents are never part of the words.
pub(super) async fn read(field: &str, secret: &SecretRef) -> Result<String, String> {
    let shown = secret.file.display();
    let text = tokio::fs::read_to_string(&secret.file).await;
    text.map_err(|e| format!("{field}: {shown} cannot be read: {e}"))
}

/// A secret of one line: a line break at the end does not count.
pub(super) fn line(secret: &str) -> &str {
    secret.trim_end_matches(['\r', '\n'])
}
