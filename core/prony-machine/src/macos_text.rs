//! Parsers for the output of macOS's commands.

use crate::state::{Power, ProcessTime};

/// The value of `name: value` in the output of `sysctl`.
pub(crate) fn sysctl<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

/// The value of `name = value` in the output of `pmset -g therm`, or of `name value` in
/// that of `pmset -g`.
pub(crate) fn setting(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix(name)?;
        let rest = rest.strip_prefix(char::is_whitespace)?;
        let value = rest.trim().trim_start_matches('=').trim();
        value.split_ascii_whitespace().next()?.parse().ok()
    })
}

/// `pmset -g batt`: the power source, and the charge in percent.
pub(crate) fn battery(text: &str) -> (Option<Power>, Option<u32>) {
    let power = text.lines().find_map(|line| {
        let source = line.trim().strip_prefix("Now drawing from")?;
        if source.contains("Battery") {
            Some(Power::Battery)
        } else if source.contains("AC") || source.contains("UPS") {
            Some(Power::Ac)
        } else {
            None
        }
    });
    let charge = text
        .lines()
        .filter(|line| line.contains("InternalBattery"))
        .find_map(|line| {
            let (before, _) = line.split_once('%')?;
            before.rsplit(char::is_whitespace).next()?.parse().ok()
        });
    // A desktop reports mains power and lists no battery.
    (power, charge)
}

/// `vm.swapusage`: `total = 2048.00M  used = 1021.50M  free = …`, in bytes used.
pub(crate) fn swap_used_bytes(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("used =")?;
    let word = rest.split_ascii_whitespace().next()?;
    let unit = word.chars().next_back()?;
    let factor = match unit {
        'K' => 1024.0,
        'M' => 1_048_576.0,
        'G' => 1_073_741_824.0,
        _ => return None,
    };
    let value: f64 = word.strip_suffix(unit)?.parse().ok()?;
    (value >= 0.0).then_some((value * factor) as u64)
}

/// `vm_stat`: bytes to and from swap space since boot.
pub(crate) fn swapped_bytes(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("page size of ")?;
    let page: u64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
    let value = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches('.').parse().ok()
    };
    let pages = value("Swapins:")?.saturating_add(value("Swapouts:")?);
    Some(pages.saturating_mul(page))
}

/// `ps -axo pid=,pgid=,time=,comm=`.
pub(crate) fn processes(text: &str) -> Vec<ProcessTime> {
    text.lines().filter_map(process).collect()
}

fn process(line: &str) -> Option<ProcessTime> {
    let mut rest = line;
    let mut word = || {
        let (word, after) = rest.trim_start().split_once(' ')?;
        rest = after;
        Some(word)
    };
    let (pid, group, time) = (word()?, word()?, word()?);
    let path = rest.trim();
    Some(ProcessTime {
        pid: pid.parse().ok()?,
        group: group.parse().ok()?,
        // Not in the output.
        started: 0,
        name: path.rsplit('/').next().unwrap_or(path).to_owned(),
        cpu_ns: time_ns(time)?,
    })
}

/// `3:07.25`, `1:02:03.50` or `2-01:00:00`.
fn time_ns(text: &str) -> Option<u64> {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (days.parse::<u64>().ok()?, rest),
        None => (0, text),
    };
    let (whole, hundredths) = match rest.split_once('.') {
        Some((whole, part)) if part.len() == 2 => (whole, part.parse::<u64>().ok()?),
        Some(_) => return None,
        None => (rest, 0),
    };
    let seconds = whole.split(':').try_fold(0_u64, |sum, part| {
        sum.checked_mul(60)?.checked_add(part.parse().ok()?)
    })?;
    days.checked_mul(86_400)?
        .checked_add(seconds)?
        .checked_mul(1_000_000_000)?
        .checked_add(hundredths * 10_000_000)
}

/// `ioreg -rd1 -c AGXAccelerator`: the GPU's name and number of cores.
pub(crate) fn gpu(text: &str) -> Option<(String, Option<u32>)> {
    let value = |name: &str| {
        text.lines().find_map(|line| {
            let line = line.trim().trim_start_matches('|').trim();
            let rest = line.strip_prefix('"')?.strip_prefix(name)?;
            Some(rest.strip_prefix("\" = ")?.trim())
        })
    };
    let name = value("model")?.trim_matches(|c| "<>\"".contains(c));
    let cores = value("gpu-core-count").and_then(|cores| cores.parse().ok());
    (!name.is_empty()).then(|| (name.to_owned(), cores))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn settings_of_power() {
        let batt = "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=4653155)\t85%; discharging; 4:32 remaining present: true\n";
        assert_eq!(battery(batt), (Some(Power::Battery), Some(85)));
        let desktop = "Now drawing from 'AC Power'\n";
        assert_eq!(battery(desktop), (Some(Power::Ac), None));
        assert_eq!(battery(""), (None, None));
        let therm = "Note: No thermal warning level has been recorded\n2026-01-02 10:00:00 +0000 CPU Power notify\n\tCPU_Scheduler_Limit \t= 100\n\tCPU_Available_CPUs \t= 8\n\tCPU_Speed_Limit \t= 67\n";
        assert_eq!(setting(therm, "CPU_Speed_Limit"), Some(67));
        assert_eq!(
            setting("Note: No thermal warning\n", "CPU_Speed_Limit"),
            None
        );
        let pmset = "System-wide power settings:\nCurrently in use:\n lowpowermode         1\n sleep                1 (sleep prevented by caffeinate)\n";
        assert_eq!(setting(pmset, "lowpowermode"), Some(1));
        assert_eq!(setting(pmset, "sleep"), Some(1));
        assert_eq!(setting(pmset, "lowpower"), None);
    }

    #[test]
    fn memory_and_swap() {
        let usage = "total = 2048.00M  used = 1021.50M  free = 1026.50M  (encrypted)";
        assert_eq!(swap_used_bytes(usage), Some(1_071_120_384));
        assert_eq!(swap_used_bytes("total = 0.00M  used = 0.00M"), Some(0));
        assert_eq!(swap_used_bytes("used = -1M"), None);
        let stat = "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:      3412.\nSwapins:         10.\nSwapouts:        20.\n";
        assert_eq!(swapped_bytes(stat), Some(30 * 16384));
        let text = "hw.memsize: 17179869184\nhw.model: Mac15,6\nkern.x:\n";
        assert_eq!(sysctl(text, "hw.model"), Some("Mac15,6"));
        assert_eq!(sysctl(text, "hw.mem"), None);
        assert_eq!(sysctl(text, "kern.x"), None);
    }

    #[test]
    fn processes_with_odd_names() {
        let text = "    1     1   3:07.25 /sbin/launchd\n  512   500 123:45.50 /Applications/My App.app/Contents/MacOS/My App\nnonsense\n 7 7 1:02:03.50 (x)\n";
        let found = processes(text);
        let of: Vec<_> = found
            .iter()
            .map(|it| (it.pid, it.group, it.cpu_ns / 10_000_000, it.name.as_str()))
            .collect();
        assert_eq!(
            of,
            [
                (1, 1, 18_725, "launchd"),
                (512, 500, 742_550, "My App"),
                (7, 7, 372_350, "(x)")
            ]
        );
    }

    #[test]
    fn the_gpu_is_named() {
        let text = "+-o AGXAcceleratorG15X  <class AGXAcceleratorG15X, id 0x1>\n    {\n      \"gpu-core-count\" = 18\n      \"model\" = \"Apple M3 Pro\"\n    }\n";
        assert_eq!(gpu(text), Some(("Apple M3 Pro".to_owned(), Some(18))));
        assert_eq!(
            gpu("  | \"model\" = <\"X\">\n"),
            Some(("X".to_owned(), None))
        );
        assert_eq!(gpu(""), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(?s).{0,200}", words in "[-a-z0-9:.%=\"/ \nMé]{0,200}") {
            for text in [text.as_str(), words.as_str()] {
                sysctl(text, "a");
                setting(text, "a");
                battery(&format!("Now drawing from{text}\n-InternalBattery{text}%"));
                swap_used_bytes(&format!("used ={text}"));
                swapped_bytes(&format!("page size of {text}"));
                processes(&format!("1 1 {text}\n{text}"));
                time_ns(text);
                gpu(&format!("\"model\" = {text}"));
            }
        }
    }
}
