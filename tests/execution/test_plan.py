"""Planning: populations, waves and shards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.execution.plan import ShardPlan, model_bytes, plan_waves
from pipeline.hyperparameters import Hyperparameters

Hyper = Callable[..., Hyperparameters]
PLENTY = 1 << 40  # bytes


def test_every_job_is_planned_once_and_work_is_balanced(hyper: Hyper) -> None:
    jobs = [hyper(hidden_size=h) for h in (32, 64, 128, 256) for _ in range(16)]
    (wave,) = plan_waves(jobs, 64, 10, cores=2, memory=PLENTY)
    assert sorted(i for shard in wave for i in shard.jobs) == list(range(64))
    assert len(wave) == 2
    assert wave[0].work == wave[1].work


def test_only_jobs_that_share_their_mini_batches_share_a_shard(hyper: Hyper) -> None:
    jobs = [hyper(seed=s, batch_size=b) for s in (0, 1) for b in (50, 100) for _ in range(3)]
    (wave,) = plan_waves(jobs, 64, 10, cores=2, memory=PLENTY)
    for shard in wave:
        assert len({(jobs[i].seed, jobs[i].batch_size) for i in shard.jobs}) == 1
    assert [shard.work for shard in wave] == sorted((s.work for s in wave), reverse=True)


def test_memory_splits_a_population_into_waves(hyper: Hyper) -> None:
    jobs = [hyper() for _ in range(10)]
    waves = plan_waves(jobs, 64, 10, cores=2, memory=3 * model_bytes(jobs[0], 64, 10))
    assert [sum(len(shard.jobs) for shard in wave) for wave in waves] == [3, 3, 3, 1]


def test_a_model_larger_than_the_memory_is_a_wave_of_its_own(hyper: Hyper) -> None:
    waves = plan_waves([hyper(), hyper()], 64, 10, cores=2, memory=1)
    assert [len(wave) for wave in waves] == [1, 1]


def test_few_models_share_all_cores_by_threads(hyper: Hyper) -> None:
    def shards(cores: int, *sizes: int) -> list[ShardPlan]:
        jobs = [hyper(hidden_size=h, batch_size=200) for h in sizes]
        (wave,) = plan_waves(jobs, 3072, 10, cores, PLENTY)
        return wave

    for sizes in [(1024,), (256,), (512, 512, 512), (1024, 256)]:
        (shard,) = shards(2, *sizes)
        assert (shard.threads, len(shard.jobs)) == (2, len(sizes))
    three = shards(2, 512, 512, 512)[0]
    assert three.work <= 1.1 * 3 / 2 * shards(1, 512)[0].work
    assert [shard.threads for shard in shards(16, 512, 512, 512)] == [8, 8]


def test_models_that_fill_all_cores_and_small_models_train_with_one_thread(hyper: Hyper) -> None:
    def threads(sizes: list[int], D: int, cores: int = 2, **values: Any) -> set[int]:
        jobs = [hyper(hidden_size=h, batch_size=200, **values) for h in sizes]
        return {shard.threads for shard in plan_waves(jobs, D, 10, cores, PLENTY)[0]}

    assert threads([512] * 4, D=3072) == {1}
    assert threads([64], D=64) == {1}
    assert threads([512], D=3072, momentum=0.9) == {1}  # nothing of it can be divided
    assert threads([1024], D=3072, cores=1) == {1}
    (wave,) = plan_waves([hyper(hidden_size=1024)], 3072, 10, 2, PLENTY, threads=False)
    assert [shard.threads for shard in wave] == [1]
