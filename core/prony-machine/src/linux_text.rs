//! Parsers of `/proc` and `/sys`.

use std::collections::BTreeSet;

/// `PID/stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    /// User and system time in ticks.
    pub(crate) ticks: u64,
    /// Ticks since boot.
    pub(crate) started: u64,
    pub(crate) rss_pages: u64,
}

/// `pid (name) state parent group …`; the name may hold anything.
pub(crate) fn stat(text: &str) -> Option<Stat> {
    let (pid, rest) = text.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        pid: pid.trim().parse().ok()?,
        name: name.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        ticks: number(11)?.saturating_add(number(12)?),
        started: number(19)?,
        rss_pages: number(21)?,
    })
}

/// Inodes of the sockets that listen on `port` for connections to 127.0.0.1, from
/// `net/tcp` or `net/tcp6`.
pub(crate) fn listening(table: &str, port: u16) -> Vec<u64> {
    // All addresses and the loopback, as the kernel writes them: words of the machine's
    // byte order.
    let local = u32::from_ne_bytes([127, 0, 0, 1]);
    let local = format!("{local:08X}");
    let mapped = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
    let mapped = format!("{:016X}{mapped:08X}{local}", 0);
    let reached = |address: &str| {
        address == local || address == mapped || address.bytes().all(|digit| digit == b'0')
    };
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, of) = fields.get(1)?.split_once(':')?;
        let listens = *fields.get(3)? == "0A" && u16::from_str_radix(of, 16) == Ok(port);
        let inode = fields.get(9)?.parse().ok()?;
        (listens && reached(address)).then_some(inode)
    };
    table.lines().filter_map(inode).collect()
}

/// Proportional and resident set size of a process, in bytes: `Pss:` and `Rss:` of
/// `PID/smaps_rollup`. The former divides each shared page among its sharers.
pub(crate) fn shares(rollup: &str) -> Option<(u64, u64)> {
    kib_of(rollup, "Pss:").zip(kib_of(rollup, "Rss:"))
}

/// `VmHWM:` of `PID/status` in bytes.
pub(crate) fn high_water_bytes(status: &str) -> Option<u64> {
    kib_of(status, "VmHWM:")
}

/// A line such as `SwapFree:  1024 kB`, in bytes.
pub(crate) fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The first line of `/proc/stat`: ticks in which CPUs were busy, and stolen ticks. Guest
/// time is already part of user time.
pub(crate) fn cpu_ticks(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line
        .split_ascii_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let busy = [0, 1, 2, 5, 6];
    let busy = busy
        .iter()
        .map(|index| fields.get(*index).copied().unwrap_or(0));
    let busy = busy.fold(0, u64::saturating_add);
    (fields.len() >= 4).then(|| (busy, fields.get(7).copied().unwrap_or(0)))
}

/// `total=` of the `some` line of a file in `/proc/pressure`, in microseconds.
pub(crate) fn pressure_us(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = line
        .split_ascii_whitespace()
        .find_map(|field| field.strip_prefix("total="))?;
    total.parse().ok()
}

/// `pswpin` and `pswpout` of `/proc/vmstat`, together, in pages.
pub(crate) fn swapped_pages(text: &str) -> Option<u64> {
    Some(count_of(text, "pswpin")?.saturating_add(count_of(text, "pswpout")?))
}

/// A line of `/proc/vmstat`, such as `oom_kill 3`.
pub(crate) fn count_of(text: &str, name: &str) -> Option<u64> {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
    values.find_map(|value| value.strip_prefix(' ')?.trim().parse().ok())
}

/// The number of elements in a list such as `0-3,8`.
pub(crate) fn list_len(text: &str) -> Option<u32> {
    text.trim().split(',').try_fold(0_u32, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// A temperature in thousandths of a degree, if plausible: disconnected sensors return
/// anything.
pub(crate) fn temperature_c(text: &str) -> Option<f64> {
    let degrees = text.trim().parse::<i64>().ok()? as f64 / 1000.0;
    (degrees > 0.0 && degrees < 126.0).then_some(degrees)
}

/// `cpu.max` of a control group: CPU quota in thousandths of a CPU.
pub(crate) fn cpu_max_millis(text: &str) -> Option<u64> {
    let (quota, period) = text.trim().split_once(' ')?;
    quota_millis(quota, period)
}

/// The quota from the two files of control groups, version 1.
pub(crate) fn quota_millis(quota: &str, period: &str) -> Option<u64> {
    let (quota, period): (u64, u64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    quota.checked_mul(1000)?.checked_div(period)
}

/// A memory limit in bytes. `max`, or a number close to the largest, means no limit.
pub(crate) fn memory_max(text: &str) -> Option<u64> {
    let bytes = text.trim().parse().ok()?;
    (bytes < 1 << 60).then_some(bytes)
}

/// The path in a hierarchy, from `/proc/self/cgroup`; version 2 if `controller` is empty.
pub(crate) fn cgroup_path<'t>(text: &'t str, controller: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let found = controllers.split(',').any(|it| it == controller);
        (found && path.starts_with('/') && !path.contains("..")).then_some(path)
    })
}

/// The container runtime, from the control group paths of the first process.
pub(crate) fn container_of(cgroup: &str) -> Option<&'static str> {
    ["docker", "kubepods", "containerd", "libpod", "lxc"]
        .into_iter()
        .find(|name| cgroup.contains(*name))
}

/// Returns `true` if `/proc/cpuinfo` has the hypervisor flag.
pub(crate) fn hypervisor_flag(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .find(|line| line.starts_with("flags"))
        .is_some_and(|line| {
            line.split_ascii_whitespace()
                .any(|flag| flag == "hypervisor")
        })
}

/// Clocks in `/proc/cpuinfo`, in MHz.
pub(crate) fn cpuinfo_mhz(cpuinfo: &str) -> Vec<f64> {
    cpuinfo
        .lines()
        .filter_map(|line| line.strip_prefix("cpu MHz")?.split_once(':'))
        .filter_map(|(_, value)| value.trim().parse().ok())
        .filter(|mhz: &f64| mhz.is_finite() && *mhz > 0.0)
        .collect()
}

/// Returns `true` if the maker or product of a board is a virtual one.
pub(crate) fn virtual_product(product: &str) -> bool {
    [
        "QEMU",
        "KVM",
        "VMware",
        "VirtualBox",
        "Virtual Machine",
        "HVM domU",
        "Bochs",
        "Parallels",
        "Google Compute Engine",
        "Apple Virtualization",
    ]
    .iter()
    .any(|name| product.contains(name))
}

/// Distinct values, sorted, joined by `+`.
pub(crate) fn joined(values: impl Iterator<Item = String>) -> Option<String> {
    let values: BTreeSet<String> = values
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
        .collect();
    let values: Vec<String> = values.into_iter().collect();
    (!values.is_empty()).then(|| values.join("+"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn sockets_that_listen_are_found_by_their_port() {
        let v4 = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12 1 0 100 0 0 10 0
   2: 0101A8C0:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 13 1 0 100 0 0 10 0
   3: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 14 1 0 100 0 0 10 0
   4: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 15 1 0 100 0 0 10 0\n";
        // Not that of another address or port, nor a connection.
        assert_eq!(listening(v4, 8080), [11, 12]);
        let v6 = "  sl  local_address remote_address st
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 21 1 0
   1: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 22 1 0
   2: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 23 1 0\n";
        assert_eq!(listening(v6, 8080), [21, 22]);
        assert_eq!(listening("", 8080), [0; 0]);
    }

    #[test]
    fn shared_memory_is_told_from_ones_own() {
        let rollup = "55d0a000-7ffd1000 ---p 00000000 00:00 0 [rollup]\nRss:     2048 kB\nPss:      512 kB\nPss_Anon: 12 kB\n";
        assert_eq!(shares(rollup), Some((512 << 10, 2048 << 10)));
        assert_eq!(shares("Rss: 1 kB\n"), None);
    }

    #[test]
    fn a_process_may_have_any_name() {
        let text = "4242 (a) b (c)\n) S 17 4200 4200 34816 1 4194304 1 2 3 4 150 25 9 9 20 0 8 0 98765 1000 321 18446744073709551615 1 1 0";
        let found = stat(text).expect("it is complete");
        assert_eq!(found.name, "a) b (c)\n");
        assert_eq!(
            (found.pid, found.state, found.parent, found.group),
            (4242, 'S', 17, 4200)
        );
        assert_eq!(
            (found.ticks, found.started, found.rss_pages),
            (175, 98765, 321)
        );
        assert_eq!(stat("1 (x) S 0 1"), None);
    }

    #[test]
    fn files_of_proc() {
        let stat = "cpu  100 1 20 900 5 2 3 44 10 0\ncpu0 1 1 1 1\n";
        assert_eq!(cpu_ticks(stat), Some((126, 44)));
        assert_eq!(cpu_ticks("cpu  1 2 3 4"), Some((6, 0)));
        assert_eq!(cpu_ticks("cpu0 1 2 3 4"), None);
        let status = "Name:\tx\nVmHWM:\t    1700 kB\nVmRSS:\t 1600 kB\n";
        assert_eq!(high_water_bytes(status), Some(1700 * 1024));
        assert_eq!(high_water_bytes("Name: kthread\n"), None);
        let pressure = "some avg10=0.00 avg60=0.12 avg300=1.35 total=3421219726\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n";
        assert_eq!(pressure_us(pressure), Some(3_421_219_726));
        let vmstat = "pswpin 3\npswpin_extra 9\npswpout 4\n";
        assert_eq!(swapped_pages(vmstat), Some(7));
        let cpuinfo = "processor\t: 0\ncpu MHz\t\t: 2445.404\nflags\t\t: fpu hypervisor lahf\n\nprocessor\t: 1\ncpu MHz\t\t: 800.0\n";
        assert!(hypervisor_flag(cpuinfo));
        assert!(!hypervisor_flag("flags : fpu hypervisors\n"));
        assert_eq!(cpuinfo_mhz(cpuinfo), [2445.404, 800.0]);
    }

    #[test]
    fn files_of_sys() {
        assert_eq!(list_len("0\n"), Some(1));
        assert_eq!(list_len("0-3,8,10-11\n"), Some(7));
        assert_eq!(list_len("3-0"), None);
        assert_eq!(list_len(""), None);
        assert_eq!(temperature_c("48500\n"), Some(48.5));
        assert_eq!(temperature_c("-273000"), None);
        assert_eq!(temperature_c("65261850"), None);
        let of = |values: &[&str]| joined(values.iter().map(|it| (*it).to_owned()));
        assert_eq!(
            of(&["powersave\n", "performance", "powersave"]).as_deref(),
            Some("performance+powersave")
        );
        assert_eq!(of(&[]), None);
        assert!(virtual_product("QEMU Standard PC (Q35 + ICH9, 2009)"));
        assert!(!virtual_product("Amazon EC2 c5.metal"));
    }

    #[test]
    fn control_groups() {
        assert_eq!(cpu_max_millis("150000 100000\n"), Some(1500));
        assert_eq!(cpu_max_millis("max 100000\n"), None);
        assert_eq!(quota_millis("-1\n", "100000\n"), None);
        assert_eq!(quota_millis("5", "0"), None);
        assert_eq!(memory_max("max\n"), None);
        assert_eq!(memory_max("9223372036854771712\n"), None);
        assert_eq!(memory_max("1073741824\n"), Some(1 << 30));
        let text = "4:memory:/a:b\n2:cpuacct,cpu:/c\n0::/user.slice/x\n";
        assert_eq!(cgroup_path(text, ""), Some("/user.slice/x"));
        assert_eq!(cgroup_path(text, "cpu"), Some("/c"));
        assert_eq!(cgroup_path(text, "memory"), Some("/a:b"));
        assert_eq!(cgroup_path("0::/../../outside", ""), None);
        assert_eq!(
            container_of("0::/system.slice/docker-12ab.scope"),
            Some("docker")
        );
        assert_eq!(container_of("0::/init.scope"), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(?s).{0,200}", numbers in "[-cpu some total=kBVmHWM:(),0-9 \n]{0,200}") {
            for text in [text.as_str(), numbers.as_str()] {
                stat(text);
                stat(&format!("1 (x) {text}"));
                high_water_bytes(&format!("VmHWM:{text}"));
                cpu_ticks(&format!("cpu {text}"));
                pressure_us(&format!("some {text}"));
                swapped_pages(text);
                list_len(text);
                temperature_c(text);
                cpu_max_millis(text);
                memory_max(text);
                cgroup_path(text, "cpu");
                container_of(text);
                hypervisor_flag(text);
                cpuinfo_mhz(text);
            }
        }
    }
}
