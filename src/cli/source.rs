//! Files that are read from beginning to end, with a bar once that takes a while. It knows nothing of what is in them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Reading for less than this shows no bar.
const BAR_AFTER: Duration = Duration::from_secs(1);

/// Opens a file, or standard input for `-`.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path)?;
    let style = ProgressStyle::with_template("{bar:30} {binary_bytes} of {binary_total_bytes} read  {eta}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::hidden().with_style(style);
    bar.set_length(file.metadata()?.len());
    Ok(Box::new(Watched { file, bar, since: Instant::now() }))
}

struct Watched {
    file: File,
    bar: ProgressBar,
    since: Instant,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read(buffer)?;
        if self.bar.is_hidden() && self.since.elapsed() >= BAR_AFTER {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(len as u64);
        Ok(len)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
