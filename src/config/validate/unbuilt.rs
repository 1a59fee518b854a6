//! The guards that can be written but that this version cannot keep.
//!
//! Pure. A guard that is silently not kept is worse than none, so each is refused by its name. Building one means
//! taking its line out of the list, and nothing else here.

use super::super::mistake::Findings;
use super::super::raw::RawConfig;

/// Refuses what is asked for and not built.
pub(super) fn refuse(raw: &RawConfig, found: &mut Findings) {
    let startup = &raw.startup;
    let guards = [
        (&startup.require_storage_ready.at, startup.require_storage_ready.or(false)),
        (&startup.require_post_start_probes.at, startup.require_post_start_probes.or(false)),
        (&startup.post_start_probes.at, startup.post_start_probes.value().is_some_and(|probes| !probes.is_empty())),
        (&startup.vault_unseal_key_file.at, startup.vault_unseal_key_file.value().is_some()),
        (&startup.vault_unseal_breakglass_command.at, startup.vault_unseal_breakglass_command.value().is_some()),
        (
            &startup.vault_unseal_breakglass_timeout_seconds.at,
            startup.vault_unseal_breakglass_timeout_seconds.value().is_some(),
        ),
        (&startup.auto_etcd_restore_on_api_failure.at, startup.auto_etcd_restore_on_api_failure.or(false)),
    ];
    for (at, _) in guards.into_iter().filter(|(_, is_asked_for)| *is_asked_for) {
        found.mistake_with(at, "is not built yet in this version", "remove it (the guard would not be kept)");
    }
}
