//! A crash at each operation.

use super::disk::SimDisk;
use super::rng::Rng;

/// Runs a workload once for each of its operations, on a copy of `start` on which `arm` has put
/// something in the way of that operation, and once more undisturbed; shows `check` each disk that
/// a crash at the run's end could leave, with what the run gave back. Says how many disks it
/// checked, or what led to the first that failed.
pub(crate) fn at_every_operation<T>(
    start: &SimDisk,
    seed: u64,
    arm: impl Fn(&SimDisk, usize),
    run: impl Fn(&SimDisk) -> T,
    check: impl Fn(&SimDisk, &T) -> Result<(), String>,
) -> Result<usize, String> {
    let mut rng = Rng::new(seed);
    let mut checked = 0;
    let mut operation = start.operations();
    loop {
        let disk = start.clone_deep();
        arm(&disk, operation);
        let told = run(&disk);
        for shape in disk.shapes(rng.next()) {
            let image = disk.crash(shape);
            checked += 1;
            check(&image, &told).map_err(|error| {
                let (before, after) = (disk.log().join("\n"), image.log().join("\n"));
                format!(
                    "{error}\nseed {seed}, operation {operation}, {shape:?}, after\n{before}\n\
                     then\n{after}"
                )
            })?;
        }
        if disk.operations() <= operation {
            return Ok(checked);
        }
        operation += 1;
    }
}
