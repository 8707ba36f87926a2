//! Lines on standard output that say what is being done and how long it took.

use std::fmt::Display;
use std::io::Write;

use tokio::time::Instant;

/// Column at which results stand.
const WIDTH: usize = 22;

/// Prints a line. Who closed our standard output does not want it; that must not end us.
pub(crate) fn line(text: impl Display) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{text}");
    let _ = output.flush();
}

/// One thing that takes its time.
pub(crate) struct Step {
    what: &'static str,
    from: Instant,
}

impl Step {
    pub(crate) fn start(what: &'static str) -> Step {
        Step {
            what,
            from: Instant::now(),
        }
    }

    /// Prints how long it took, and what came out of it.
    pub(crate) fn done(self, result: impl Display) {
        let seconds = self.from.elapsed().as_secs_f64();
        line(format_args!(
            "  {:<WIDTH$}{seconds:>6.1} s   {result}",
            self.what
        ));
    }
}
