//! Passwords and users.

use super::super::types::{AclPubsubDefault, Secret};
use super::{Directive, Flags, Honour, Int, OneOf, Slot, Text};
use std::path::PathBuf;

const NO_ACL: Honour =
    Honour::Refused("users and rules are not available in this version of Russet");

group! {
    /// Passwords and users.
    Acl in acl {
        /// Password of the default user; empty for none.
        "requirepass" = requirepass: Secret = Secret::default(), Text::ANY, [SENSITIVE];
        /// File with the users and their rules.
        "aclfile" = aclfile: PathBuf = PathBuf::new(), Text::ANY, [IMMUTABLE] => NO_ACL;
        /// Entries kept in the log of denied commands.
        "acllog-max-len" = acllog_max_len: u64 = 128, Int::range(0, i64::MAX) => NO_ACL;
        /// Channels that a new user may use.
        "acl-pubsub-default" = acl_pubsub_default: AclPubsubDefault =
            AclPubsubDefault::ResetChannels, OneOf::<AclPubsubDefault>::new() => NO_ACL;
    }
}
