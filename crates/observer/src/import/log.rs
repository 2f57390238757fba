//! Lines such as `INFO  jepsen.util - 3 :invoke :write 4`, as Jepsen once logged and porcupine is tested with. Lines of other
//! loggers and of the nemesis are passed over.

use super::ImportError;
use super::edn::{self, Edn};
use std::io::BufRead;

/// Reads the log, and hands each event over as the map it would be in EDN.
pub(super) fn read(
    source: impl BufRead,
    mut take: impl FnMut(usize, Edn) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    for (number, text) in source.lines().enumerate() {
        let line = number + 1;
        let text = text.map_err(|source| ImportError::Io { line, source })?;
        let Some((_, event)) = text.split_once("jepsen.util - ") else { continue };
        let mut words = event.splitn(4, char::is_whitespace).filter(|word| !word.is_empty());
        let mut word = || words.next().ok_or_else(|| ImportError::new(line, "an event ends early"));
        let (process, kind, f) = (word()?, word()?, word()?);
        if process == ":nemesis" {
            continue;
        }
        let value = word().unwrap_or("nil");
        let mut forms = Vec::new();
        let map = format!("{{:process {process} :type {kind} :f {f} :value {value}}}");
        edn::read(map.as_bytes(), |_, form| {
            forms.push(form);
            Ok(())
        })
        .map_err(|_of_line_1| ImportError::new(line, format!("no event: {event}")))?;
        for form in forms {
            take(line, form)?;
        }
    }
    Ok(())
}
