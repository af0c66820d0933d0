//! Nodes and jobs as various as they are in the field, drawn from a seed.

use adit_dispatch::{Event, Request};
use adit_protocol::{
    BlobRef, ByteCount, Digest, Fuel, JobId, JobLimits, JobSpec, MeterId, Microcredits, NodeOffer, NodeState, Placement,
    Preference, Price, Profile, PublicKey,
};
use adit_sim::Chance;

/// Modules of all clients; a few of them are most of the work.
const MODULES: u64 = 1_000;

/// Clients that submit.
const CLIENTS: u64 = 200;

const REGIONS: [&str; 8] = ["eu-west", "eu-north", "us-east", "us-west", "ap-south", "ap-east", "sa", "af"];

/// Draws events.
#[derive(Debug)]
pub(crate) struct Fleet {
    chance: Chance,
}

/// What a node is beside what it says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) speed: u64,
    pub(crate) rtt_us: u64,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self { chance: Chance::new(0, "fleet") }
    }

    pub(crate) fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// A node that joins, and what it is.
    pub(crate) fn node(&mut self, node: PublicKey) -> (Event, Machine) {
        let chance = &mut self.chance;
        let machine =
            Machine { speed: chance.within_orders(200_000_000, 4_000_000_000), rtt_us: chance.within_orders(500, 250_000) };
        let mut labels = vec![("region".to_owned(), chance.pick(&REGIONS).to_owned())];
        labels.push(("arch".to_owned(), chance.pick(&["x86-64", "aarch64"]).to_owned()));
        let price =
            Price { per_compute_minute: 100 * chance.within(1, 40), per_gib_out: chance.pick(&[0, 500]), ..Price::default() };
        let offer = NodeOffer {
            software: "adit 0.1.0".to_owned(),
            slots: chance.within(1, 4) as u32,
            memory: ByteCount(chance.pick(&[1 << 30, 4 << 30])),
            gpu: None,
            profiles: vec![Profile::Deterministic],
            price,
            labels,
            meter: MeterId([3; 32]),
            fuel_per_second: machine.speed,
            one_tenant: false,
        };
        let cached = (0..chance.below(8)).map(|_| module(chance.below(MODULES)).digest).collect();
        (Event::NodeJoined { node, offer, state: NodeState::Ready, cached }, machine)
    }

    /// A job, and the fuel that it will take.
    pub(crate) fn job(&mut self) -> (JobId, Request, u64) {
        let chance = &mut self.chance;
        let fuel = chance.within_orders(10_000_000, 20_000_000_000);
        let (bytes, rank) = (chance.bytes(), chance.below(MODULES) * chance.below(MODULES) / MODULES);
        let input = BlobRef { digest: Digest(chance.bytes()), bytes: chance.within_orders(100, 1 << 20) };
        let labels =
            if chance.permille(200) { vec![("region".to_owned(), chance.pick(&REGIONS).to_owned())] } else { Vec::new() };
        let placement = Placement {
            labels,
            prefer: chance.pick(&[Preference::Fast, Preference::Balanced, Preference::Balanced, Preference::Cheap]),
            deadline_ms: chance.permille(50).then_some(600_000),
            priority: chance.pick(&[0, 0, 0, 1]),
            hedge: false,
        };
        let limits = JobLimits { fuel: Fuel(2 * fuel), wall_ms: 600_000, ..JobLimits::default() };
        let max_price = chance.permille(100).then_some(Microcredits(10_000));
        let spec = JobSpec { limits, placement, max_price, ..JobSpec::new(module(rank), input) };
        let client = PublicKey([chance.below(CLIENTS) as u8; 32]);
        (JobId(bytes), Request::new(&client, &spec, true), fuel)
    }

    /// A node's key.
    pub(crate) fn key(&mut self) -> PublicKey {
        PublicKey(self.chance.bytes())
    }
}

fn module(number: u64) -> BlobRef {
    BlobRef { digest: Digest::of(&number.to_le_bytes()), bytes: 100_000 + 1_000 * (number % 500) }
}
