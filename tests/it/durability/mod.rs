//! Kills, damage, full disks, jumping clocks.

pub(super) mod clocks;
pub(super) mod damage;
pub(super) mod disk;
pub(super) mod kill;
pub(super) mod panics;
pub(super) mod signals;
