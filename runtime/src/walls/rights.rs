//! What a worker gives up for itself and for the threads that it will start: namespaces, files, network, capabilities.

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::process::{chdir, chroot};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::unchecked::{unshare_network, unshare_user_and_network};

/// The newest version of Landlock that this code was written against. Of an older kernel's, all that there is gets used.
pub(super) const LANDLOCK_NEWEST: ABI = ABI::V10;

/// A folder that holds nothing but this process's own descriptors by number, which other processes cannot look into.
const EMPTY_ROOT: &str = "/proc/self/fdinfo";

/// Moves into a user namespace without power over anything, and a network namespace without an interface; says whether the latter
/// was permitted. With the user namespace comes the right to leave the file system too: Landlock refuses to open files but lets
/// whoever asks know which exist, and behind an empty root there are none.
pub(super) fn leave_namespaces() -> bool {
    let left = leave_network();
    // Not permitted without the namespace, and no loss where the filter stands.
    if chroot(EMPTY_ROOT).is_ok() {
        let _ = chdir("/");
    }
    left
}

/// Moves into a network namespace without an interface; says whether that was permitted.
pub(super) fn leave_network() -> bool {
    unshare_user_and_network().or_else(|_| unshare_network()).is_ok()
}

/// Refuses every access that Landlock knows of: all files, all TCP ports, sockets and signals across the sandbox's border. There
/// is no rule that gives anything back. Returns the version of the kernel's interface as far as it is used.
pub(super) fn restrict() -> Result<u32, String> {
    let status = restrict_self().map_err(|error| error.to_string())?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
            Ok(effective_abi as u32)
        }
        (_, LandlockStatus::NotEnabled) => Err("the kernel has it, switched off at boot".to_owned()),
        _ => Err("the kernel does not have it".to_owned()),
    }
}

/// By default the crate takes what the kernel has and leaves out the rest.
fn restrict_self() -> Result<RestrictionStatus, RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK_NEWEST))?
        .handle_access(AccessNet::from_all(LANDLOCK_NEWEST))?
        .scope(Scope::from_all(LANDLOCK_NEWEST))?
        .create()?
        .restrict_self()
}

/// Gives up every capability, those in the new user namespace too. Without new privileges and without `execve` none comes back.
pub(super) fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}
