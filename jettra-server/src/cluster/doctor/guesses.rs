//! Wrong passwords in numbers.

use super::diagnose::Sight;
use super::memory::Found;

/// More wrong passwords in a minute than a script with an old one sends.
const FLOOD: u64 = 30;

/// A finding for each node to which many wrong passwords are sent.
pub(super) fn guesses(sight: &Sight, found: &mut Vec<Found>) {
    let told = sight.members.iter().filter_map(|m| Some((m, m.report.as_ref()?.wrong_passwords)));
    for (member, count) in told.filter(|(_, count)| *count >= FLOOD) {
        found.push(Found {
            key: format!("wrong passwords {}", member.id),
            since: None,
            what: format!("{count} wrong passwords were sent to {} within the last minute", member.id),
            works: "everything; guesses are slowed, and who was right lately is let in at once".to_owned(),
            at_risk: "a password that is easy to guess, and new logins from where the wrong ones come from".to_owned(),
            next: format!(
                "see in {}'s log from where (\"wrong passwords\"): mend the client there, or keep that network out",
                member.id
            ),
        });
    }
}
