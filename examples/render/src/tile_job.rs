//! A tile's way from its job to its pixels.

use std::time::Duration;

use adit_client::{Job, Source};
use adit_example_network::{Finished, Network};
use adit_example_pathtracer::{Pixels, Subject, Tile, Work};
use adit_guest::{Decode, Encode};
use adit_protocol::{Fuel, GpuNeed, VerifiedReceipt};
use anyhow::{Context, Result, ensure};

/// The most that one tile may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) fuel: Fuel,
    /// GPU time, where tiles are rendered on GPUs.
    pub(crate) gpu: Option<Duration>,
}

/// What all tiles have in common.
#[derive(Debug)]
pub(crate) struct TileJobs<'a> {
    pub(crate) network: &'a Network,
    pub(crate) module: Source,
    pub(crate) subject: Subject,
    pub(crate) budget: Budget,
}

impl TileJobs<'_> {
    /// Has one tile rendered, and waits until the gateway has stored its receipt for good.
    pub(crate) async fn render(&self, tile: Tile) -> Result<(Pixels, VerifiedReceipt)> {
        let place = || format!("the tile at {}, {} of frame {}", tile.x, tile.y, tile.picture.frame.number);
        let job = job(&self.module, &self.subject, self.budget, tile)?;
        let Finished { output, receipt } = self.network.run(job).await.with_context(place)?;
        let pixels = Pixels::decode(output).with_context(place)?;
        ensure!(pixels.tile == tile, "{}: the job made another one", place());
        Ok((pixels, receipt))
    }
}

/// The job that renders a tile. What a job asks of a GPU when it says no more has room for the largest tile.
fn job(module: &Source, subject: &Subject, budget: Budget, tile: Tile) -> Result<Job> {
    let mut job = Job::new(module.clone(), Source::bytes(Work { tile, subject }.encode()?));
    job.spec.limits.fuel = budget.fuel;
    if let Some(time) = budget.gpu {
        job.spec.gpu = Some(GpuNeed::default());
        job.spec.limits.gpu_ns = time.as_nanos().try_into().context("so much GPU time has no number")?;
    }
    Ok(job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_example_pathtracer::{Picture, tiles};

    #[test]
    fn job_asks_for_a_gpu_where_it_has_time_on_one_and_not_else() {
        let tile = tiles(Picture::still(8, 8, 1, 1), 8).next().unwrap();
        let module = Source::bytes(&b"module"[..]);
        let of = |gpu| job(&module, &Subject::Adit, Budget { fuel: Fuel(5), gpu }, tile).unwrap().spec;
        let (cpu, gpu) = (of(None), of(Some(Duration::from_secs(20))));
        assert_eq!((cpu.gpu, cpu.limits.gpu_ns, cpu.limits.fuel), (None, 0, Fuel(5)));
        assert_eq!((gpu.gpu, gpu.limits.gpu_ns, gpu.limits.fuel), (Some(GpuNeed::default()), 20_000_000_000, Fuel(5)));
    }
}
