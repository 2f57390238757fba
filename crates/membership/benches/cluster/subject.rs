//! The seam between the simulation and a membership protocol. A subject is sans-IO: it is told the time and who
//! sent it what, and answers with packets and reports.

/// Which simulated member.
pub(crate) type Host = u32;
/// Virtual time since the start of the run, in microseconds.
pub(crate) type Micros = u64;

pub(crate) const MILLISECOND: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000_000;

/// What travels between members.
#[derive(Debug)]
pub(crate) enum Packet {
    /// May be lost.
    Datagram(Vec<u8>),
    /// Opens an exchange over a reliable stream, on which every lost packet costs a retransmission.
    Request(u64, Vec<u8>),
    /// Answers the exchange of that number.
    Response(u64, Vec<u8>),
}

/// What a subject says of its own view.
#[derive(Debug)]
pub(crate) enum Report {
    /// The member is in the view and counts as there.
    Up(Host),
    /// The member counts as there no longer. One life that several observers give up is one death.
    Gone { subject: Host, life: u64 },
    /// A probe round of this observer's own failed, and a suspicion began here.
    Suspected(Host),
}

/// What one input led to.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) packets: Vec<(Host, Packet)>,
    pub(crate) reports: Vec<Report>,
}

pub(crate) trait Subject: Sized {
    /// What all members of a simulated cluster have in common.
    type Ground;

    const NAME: &'static str;

    fn ground(members: usize) -> Self::Ground;
    /// A member that has long known all of `0..members`, at a random phase of whatever it does periodically.
    fn settled(ground: &Self::Ground, host: Host, members: usize, seed: u64, effects: &mut Effects) -> Self;
    /// A newcomer that knows one other.
    fn newcomer(
        ground: &Self::Ground,
        host: Host,
        contact: Host,
        seed: u64,
        now: Micros,
        effects: &mut Effects,
    ) -> Self;
    fn take(&mut self, now: Micros, from: Host, packet: Packet, effects: &mut Effects);
    /// Says goodbye.
    fn leave(&mut self, now: Micros, effects: &mut Effects);
    /// When `wake` is to be called.
    fn deadline(&self) -> Option<Micros>;
    fn wake(&mut self, now: Micros, effects: &mut Effects);
}
