//! Writes the tombstones of earlier versions again, so that they expire. It must not bury anything that is alive.

use std::convert::Infallible;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;

use super::publish::{Publisher, renew_tombstone};

/// Tombstones that are being written at the same time.
const WRITING: usize = 16;
const PAUSE: Duration = Duration::from_secs(60);

/// Writes each of them once. One that can't be written is tried again later: a tombstone that stays costs a few bytes.
pub(super) async fn let_expire(publisher: Publisher<'_>) -> Infallible {
    loop {
        let lasting = publisher.view().lasting_tombstones.clone();
        if !lasting.is_empty() {
            tracing::info!(tombstones = lasting.len(), "tombstones of an earlier version are written again");
        }
        let renewed = stream::iter(lasting)
            .map(async |(key, tombstone)| renew_tombstone(publisher, &key, tombstone).await)
            .buffer_unordered(WRITING);
        tokio::pin!(renewed);
        // A stream that is full refuses the next one too.
        while renewed.next().await == Some(true) {}
        tokio::time::sleep(PAUSE).await;
    }
}
