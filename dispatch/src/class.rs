use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use adit_protocol::{ByteCount, GpuOffer, NodeOffer, Price, Profile, UnfitReason};

use crate::node::Slot;
use crate::request::Demand;

/// What decides which jobs a node fits. Nodes with equal offers are of one class, so that a job is held against each class and not against
/// each node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    pub(crate) has_slots: bool,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) memory: ByteCount,
    pub(crate) gpu: Option<GpuOffer>,
    price: [u64; 5],
}

/// What a demand is held against. A search holds one against some two dozen nodes, so what it needs first lies with the node itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fit<'a> {
    pub(crate) has_slots: bool,
    pub(crate) profiles: Profiles,
    pub(crate) memory: ByteCount,
    pub(crate) price: Price,
    /// For labels and GPU, which few jobs demand.
    pub(crate) class: &'a Class,
}

/// A set of profiles.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Profiles(u8);

impl Profiles {
    pub(crate) fn of(profiles: &[Profile]) -> Self {
        Self(profiles.iter().fold(0, |set, profile| set | Self::bit(*profile)))
    }

    pub(crate) fn contains(self, profile: Profile) -> bool {
        self.0 & Self::bit(profile) != 0
    }

    fn bit(profile: Profile) -> u8 {
        match profile {
            Profile::Deterministic => 1,
            Profile::Open => 2,
        }
    }
}

impl Class {
    pub(crate) fn fit(&self) -> Fit<'_> {
        let Self { has_slots, memory, .. } = *self;
        Fit { has_slots, profiles: Profiles::of(&self.profiles), memory, price: self.price(), class: self }
    }

    pub(crate) fn of(offer: &NodeOffer) -> Self {
        Self {
            has_slots: offer.slots > 0,
            profiles: offer.profiles.clone(),
            labels: offer.labels.clone(),
            memory: offer.memory,
            gpu: offer.gpu.clone(),
            price: offer.price.components(),
        }
    }

    pub(crate) fn price(&self) -> Price {
        let [per_compute_minute, per_gib_compute_minute, per_gib_in, per_gib_out, per_gpu_minute] = self.price;
        Price { per_compute_minute, per_gib_compute_minute, per_gib_in, per_gib_out, per_gpu_minute }
    }
}

/// The classes of the connected nodes.
#[derive(Debug, Default)]
pub(crate) struct Classes(BTreeMap<Arc<Class>, Members>);

/// The nodes of a class.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// Connected ones.
    pub(crate) connected: u32,
    /// Of these, the ones whose owner takes no jobs now.
    pub(crate) not_ready: u32,
    /// Of the others, the ones that are not trusted with jobs while another fits.
    pub(crate) barred: u32,
    /// Those with room, least predicted wait first.
    pub(crate) open: BTreeSet<(u64, Slot)>,
    /// Those of the barred with room, least predicted wait first.
    pub(crate) barred_open: BTreeSet<(u64, Slot)>,
}

impl Members {
    /// Nodes that may get jobs, now or when they have room.
    pub(crate) fn usable(&self) -> u32 {
        self.connected - self.not_ready
    }

    /// Of these, the ones that are trusted.
    pub(crate) fn trusted(&self) -> u32 {
        self.usable() - self.barred
    }
}

impl Classes {
    /// The class of an offer, the same one for equal offers while any node is of it.
    pub(crate) fn intern(&self, offer: &NodeOffer) -> Arc<Class> {
        let class = Class::of(offer);
        self.0.get_key_value(&class).map_or_else(|| Arc::new(class), |(known, _)| Arc::clone(known))
    }

    /// Changes the members of a class, which is forgotten when it has none.
    pub(crate) fn change(&mut self, class: &Arc<Class>, change: impl FnOnce(&mut Members)) {
        let members = self.0.entry(Arc::clone(class)).or_default();
        change(members);
        if members.connected == 0 {
            debug_assert!(members.open.is_empty() && members.barred_open.is_empty(), "an open node is connected");
            self.0.remove(class);
        }
    }

    /// The classes that fit a demand, with their members.
    pub(crate) fn fitting(&self, demand: &Demand) -> impl Iterator<Item = (&Class, &Members)> {
        let classes = self.0.iter().map(|(class, members)| (&**class, members));
        classes.filter(|(class, _)| demand.unfit(&class.fit()).is_none())
    }

    /// The barred nodes with room, of all classes.
    pub(crate) fn barred_open(&self) -> impl Iterator<Item = Slot> {
        self.0.values().flat_map(|members| members.barred_open.iter().map(|(_, slot)| *slot))
    }

    /// How many nodes are ruled out for a demand, under the first thing that rules each out.
    pub(crate) fn unfit(&self, demand: &Demand) -> BTreeMap<UnfitReason, u32> {
        let mut counts = BTreeMap::new();
        let mut add = |reason, n| {
            if n > 0 {
                *counts.entry(reason).or_insert(0) += n;
            }
        };
        for (class, members) in &self.0 {
            match demand.unfit(&class.fit()) {
                Some(reason) => add(reason, members.connected),
                None => add(UnfitReason::NotReady, members.not_ready),
            }
        }
        counts
    }
}
