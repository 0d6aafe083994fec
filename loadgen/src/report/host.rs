//! What machine a figure was measured on, as far as /proc and /sys tell. No names or addresses but the interface's.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostFacts {
    pub processor: String,
    pub cores: usize,
    pub memory_mib: u64,
    pub kernel: String,
    /// Frequency governor of the first core, where there is one.
    pub governor: String,
    pub hypervisor: bool,
    /// Idle states of the first core that are allowed; empty where the processor or its hypervisor decides.
    pub idle_states: String,
    /// Cores that the scheduler leaves alone, and those without its tick.
    pub isolated_cores: String,
    pub tickless_cores: String,
    /// The cores that the generator's threads were pinned to, and the interrupts a second that these had meanwhile.
    pub pinned_cores: Vec<usize>,
    pub interrupts_per_second: Option<f64>,
    /// Of the interface, over AF_XDP: its driver, receive queues, and what it does about busy polling.
    pub interface: String,
    pub driver: String,
    pub receive_queues: Option<usize>,
    pub busy_poll: String,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn names(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

impl HostFacts {
    pub fn collect() -> Self {
        let cpu_info = read("/proc/cpuinfo");
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory_kib = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0);
        const IDLE: &str = "/sys/devices/system/cpu/cpu0/cpuidle";
        let allowed = names(IDLE).into_iter().filter(|state| read(&format!("{IDLE}/{state}/disable")) == "0");
        let idle_states: Vec<String> = allowed.map(|state| read(&format!("{IDLE}/{state}/name"))).collect();
        HostFacts {
            processor: field(&cpu_info, "model name").unwrap_or_default(),
            // Of the machine, not only those that this process is pinned to.
            cores: cpu_info.lines().filter(|line| line.starts_with("processor")).count(),
            memory_mib: memory_kib / 1024,
            kernel: read("/proc/sys/kernel/osrelease"),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            hypervisor: field(&cpu_info, "flags").is_some_and(|flags| flags.contains("hypervisor")),
            idle_states: idle_states.join(" "),
            isolated_cores: read("/sys/devices/system/cpu/isolated"),
            tickless_cores: read("/sys/devices/system/cpu/nohz_full").replace("(null)", ""),
            ..Default::default()
        }
    }

    /// With the cores and the interface of a run.
    pub fn collect_for(cores: &[usize], interface: Option<&str>) -> Self {
        let mut facts = HostFacts { pinned_cores: cores.to_vec(), ..HostFacts::collect() };
        if let Some(name) = interface {
            let folder = format!("/sys/class/net/{name}");
            let driver = std::fs::read_link(Path::new(&folder).join("device/driver")).ok();
            let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
            facts.driver = driver.unwrap_or_else(|| "none: a virtual interface".into());
            let queues = names(&format!("{folder}/queues"));
            facts.receive_queues = Some(queues.iter().filter(|queue| queue.starts_with("rx-")).count());
            facts.busy_poll = format!(
                "napi_defer_hard_irqs {}, gro_flush_timeout {} ns",
                read(&format!("{folder}/napi_defer_hard_irqs")),
                read(&format!("{folder}/gro_flush_timeout"))
            );
            name.clone_into(&mut facts.interface);
        }
        facts
    }

    /// Every fact that is known, with its name.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let cores: Vec<String> = self.pinned_cores.iter().map(ToString::to_string).collect();
        let or = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
        let mut facts = vec![
            ("processor", self.processor.clone()),
            ("cores", self.cores.to_string()),
            ("memory", format!("{} MiB", self.memory_mib)),
            ("kernel", self.kernel.clone()),
            ("virtual machine", if self.hypervisor { "yes" } else { "no" }.into()),
            ("frequency governor", or(&self.governor, "not visible")),
            ("idle states", or(&self.idle_states, "not visible")),
            ("isolated cores", or(&self.isolated_cores, "none")),
            ("tickless cores", or(&self.tickless_cores, "none")),
            ("generator pinned to", or(&cores.join(", "), "no core")),
        ];
        if let Some(rate) = self.interrupts_per_second {
            facts.push(("interrupts on those cores", format!("{rate:.0} a second")));
        }
        if !self.interface.is_empty() {
            facts.push(("interface", self.interface.clone()));
            facts.push(("driver", self.driver.clone()));
            facts.push(("receive queues", self.receive_queues.unwrap_or(0).to_string()));
            facts.push(("busy polling", self.busy_poll.clone()));
        }
        facts
    }

    pub fn describe(&self) -> String {
        let mut text = format!(
            "{}, {} cores, {} MiB, Linux {}",
            self.processor, self.cores, self.memory_mib, self.kernel
        );
        if !self.governor.is_empty() {
            text += &format!(", governor {}", self.governor);
        }
        if self.hypervisor {
            text += ", virtual machine";
        }
        text
    }
}

/// Interrupts that these cores have had since the machine started; none where nothing is pinned.
pub fn interrupts(cores: &[usize]) -> Option<u64> {
    (!cores.is_empty()).then(|| count_interrupts(&read("/proc/interrupts"), cores))
}

/// Sums the columns of `cores` in the text of /proc/interrupts, whose first line names the columns.
fn count_interrupts(text: &str, cores: &[usize]) -> u64 {
    let mut lines = text.lines();
    let columns: Vec<Option<usize>> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|name| name.strip_prefix("CPU")?.parse().ok())
        .collect();
    lines
        .map(|line| {
            let counts = line.split_whitespace().skip(1).zip(&columns);
            let mine = counts.filter(|(_, core)| core.is_some_and(|core| cores.contains(&core)));
            mine.filter_map(|(count, _)| count.parse::<u64>().ok()).sum::<u64>()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_those_of_the_cores_asked_for() {
        let text = "           CPU0       CPU2\n  0:         12          7   IO-APIC   2-edge      timer\nLOC:        100       1000   Local timer\nERR:          0\n";
        assert_eq!(count_interrupts(text, &[0]), 112);
        assert_eq!(count_interrupts(text, &[2]), 1007);
        assert_eq!(count_interrupts(text, &[1]), 0);
        assert_eq!(count_interrupts("", &[0]), 0);
        assert_eq!(interrupts(&[]), None);
    }

    #[test]
    fn this_machine_says_what_it_is() {
        let facts = HostFacts::collect_for(&[0], Some("lo"));
        assert!(facts.cores > 0 && !facts.kernel.is_empty());
        assert_eq!(facts.receive_queues, Some(1));
        assert!(facts.facts().iter().all(|(what, value)| !what.is_empty() && !value.is_empty()), "{facts:?}");
    }
}
