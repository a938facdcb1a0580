//! The short form of the fault injection: a handful of seeds. `scripts/chaos` runs more of them.

use anyhow::{Result, ensure};

/// The first of them: they have one and two clusters, one and two instances of each service, and PostgreSQL.
const SEEDS: std::ops::Range<u64> = 0..5;

#[tokio::test]
async fn a_handful_of_seeds_come_out_right() -> Result<()> {
    let wrong = Box::pin(bcs_integration_tests::chaos::a_handful(SEEDS)).await?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
