//! Where a job's fuel went, function by function and call by call: its bill, taken apart.

use serde::{Deserialize, Serialize};

use crate::account::Lied;
use crate::meter::{UNITS_PER_FUEL, fuel};

/// Bytes of a profile on its way: all functions that a module may have and all nodes, with room.
pub(crate) const PROFILE_BYTES_MAX: usize = 8 << 20;
/// Nodes of a tree of calls. Where there would be more, calls are counted under [`Place::Deeper`].
pub(crate) const NODES_MAX: usize = 1 << 16;
/// Levels of it, likewise: recursion makes one of each call.
pub(crate) const LEVELS_MAX: u32 = 128;

/// Where a job's fuel went. The fuel of all functions together is the fuel of the job's bill, and that of a function's nodes is its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FuelProfile {
    /// Everything that used fuel or was called, in the order of [`Place`].
    pub functions: Vec<CalledFunction>,
    /// The tree of calls: who called whom, from the root on. A node comes behind its parent. The first is the root, [`Place::Instance`].
    pub nodes: Vec<CallNode>,
}

/// What uses fuel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// Making the instance, and whatever is done for it outside of its functions.
    Instance,
    /// Not a function: calls that are nested too deep, or are too many, for nodes of their own. Below it each function has one node.
    Deeper,
    /// The function of this index in the module, imported ones first: a call of the host costs what it does.
    Function(u32),
}

/// What a function came to over the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalledFunction {
    /// Which.
    pub place: Place,
    /// How often it was called.
    pub calls: u64,
    /// Fuel of its own code, without what it called.
    pub own_fuel: u64,
    /// Fuel from its call to its return. Of a function that calls itself, the outermost call counts.
    pub total_fuel: u64,
}

/// A function as it was called from one place of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallNode {
    /// The index of the node that called it. The root's own.
    pub parent: u32,
    /// Which.
    pub place: Place,
    /// How often it was called from there.
    pub calls: u64,
    /// Fuel of its own code when called from there.
    pub own_fuel: u64,
}

impl FuelProfile {
    /// The fuel of all functions.
    pub fn fuel(&self) -> u64 {
        self.functions.iter().fold(0, |sum: u64, function| sum.saturating_add(function.own_fuel))
    }

    /// As a worker sends it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a profile always encodes")
    }

    /// From a worker, which may be any guest's by now.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Lied> {
        let profile: Self = postcard::from_bytes(bytes).map_err(|_| Lied::Profile)?;
        let is_tree = profile.nodes.iter().zip(0..).all(|(node, index)| node.parent < index || (index == 0 && node.parent == 0));
        let is_tree = is_tree && profile.nodes.first().is_some_and(|root| root.place == Place::Instance);
        if is_tree { Ok(profile) } else { Err(Lied::Profile) }
    }
}

/// Fuel for amounts of units, so that the sum is the fuel of the sum: each is exact but for less than one.
pub(crate) fn shares(units: impl IntoIterator<Item = u64>) -> impl Iterator<Item = u64> {
    units.into_iter().scan(0, |sum: &mut u64, units| {
        let before = fuel(*sum).0;
        *sum = sum.saturating_add(units);
        Some(fuel(*sum).0 - before)
    })
}

const _: () = assert!(UNITS_PER_FUEL > 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_fuel_of_the_whole() {
        for units in [vec![], vec![1], vec![1, 1, 1], vec![UNITS_PER_FUEL - 1, 2, 0, 5 * UNITS_PER_FUEL]] {
            let whole = fuel(units.iter().sum()).0;
            let shares: Vec<u64> = shares(units.iter().copied()).collect();
            assert_eq!(shares.iter().sum::<u64>(), whole, "{units:?}");
            for (share, units) in shares.iter().zip(&units) {
                assert!(share.abs_diff(units / UNITS_PER_FUEL) <= 1, "{share} for {units}");
            }
        }
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let node = |parent, place| CallNode { parent, place, calls: 1, own_fuel: 1 };
        let profile = |nodes: &[CallNode]| FuelProfile { functions: Vec::new(), nodes: nodes.to_vec() };
        let root = node(0, Place::Instance);
        let good = profile(&[root, node(0, Place::Function(1)), node(1, Place::Deeper)]);
        assert_eq!(FuelProfile::from_bytes(&good.to_bytes()), Ok(good));
        for bad in [&[][..], &[node(0, Place::Deeper)], &[root, node(1, Place::Deeper)], &[root, node(2, Place::Deeper), root]] {
            assert_eq!(FuelProfile::from_bytes(&profile(bad).to_bytes()), Err(Lied::Profile), "{bad:?}");
        }
        assert_eq!(FuelProfile::from_bytes(b"\xff\xff"), Err(Lied::Profile));
    }
}
