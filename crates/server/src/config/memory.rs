//! The memory that this process may use.

use std::{fs, path::Path};

/// The least limit of the control groups of this process (cgroup versions 1 and 2), in bytes, or else the memory of the
/// machine. `None` where the system has no `/proc`. `root` is `/`, save in tests.
pub(super) fn limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| limit_of_group(root, line));
    limits.chain(total(root)).min()
}

/// The limit of one control group and of all above it. A line is `ID:CONTROLLERS:PATH`; version 2 names no controllers.
fn limit_of_group(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (mount, file) = if controllers.is_empty() {
        ("sys/fs/cgroup", "memory.max")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
    } else {
        return None;
    };
    let mount = root.join(mount);
    let read = |group: &Path| fs::read_to_string(mount.join(group).join(file)).ok()?.trim().parse().ok();
    // A container often sees its own group as the root of the mount, while the path is that of the host: both are looked at.
    Path::new(path.trim_start_matches('/')).ancestors().filter_map(read).min()
}

/// The memory of the machine. Version 1 writes "no limit" as a number that is larger.
fn total(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `limit` returns where these files, by their paths, are all there is.
    fn limit_with(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, text).expect("a file");
        }
        limit(root.path())
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree:  1 kB\n");
    const UNIFIED: (&str, &str) = ("proc/self/cgroup", "0::/kubepods/pod1/larder\n");
    const SPLIT: (&str, &str) = ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/b\n1:name=systemd:/a\n");

    #[test]
    fn without_a_limit_it_is_the_memory_of_the_machine() {
        let none = ("sys/fs/cgroup/kubepods/pod1/larder/memory.max", "max\n");
        assert_eq!(limit_with(&[MACHINE, UNIFIED, none]), Some(8 << 30));
        let none = ("sys/fs/cgroup/memory/docker/b/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit_with(&[MACHINE, SPLIT, none]), Some(8 << 30));
        assert_eq!(limit_with(&[]), None);
    }

    #[test]
    fn the_least_limit_of_the_groups_counts() {
        let of_pod = ("sys/fs/cgroup/kubepods/pod1/memory.max", "536870912\n");
        let of_container = ("sys/fs/cgroup/kubepods/pod1/larder/memory.max", "1073741824\n");
        assert_eq!(limit_with(&[MACHINE, UNIFIED, of_pod, of_container]), Some(512 << 20));
        let of_group = ("sys/fs/cgroup/memory/docker/b/memory.limit_in_bytes", "268435456\n");
        assert_eq!(limit_with(&[MACHINE, SPLIT, of_group]), Some(256 << 20));
        let of_other = ("sys/fs/cgroup/cpu,cpuacct/a/memory.limit_in_bytes", "1\n");
        assert_eq!(limit_with(&[MACHINE, SPLIT, of_group, of_other]), Some(256 << 20));
    }

    #[test]
    fn a_container_finds_its_group_at_the_root_of_the_mount() {
        let namespaced = ("proc/self/cgroup", "0::/\n");
        let unified = ("sys/fs/cgroup/memory.max", "536870912\n");
        assert_eq!(limit_with(&[MACHINE, namespaced, unified]), Some(512 << 20));
        assert_eq!(limit_with(&[MACHINE, UNIFIED, unified]), Some(512 << 20), "the path is that of the host");
        let split = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
        assert_eq!(limit_with(&[MACHINE, SPLIT, split]), Some(512 << 20));
    }
}
