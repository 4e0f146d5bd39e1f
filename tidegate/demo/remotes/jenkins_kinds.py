"""Kinds of jobs with a life of their own: multi-configuration, Maven, and those that run elsewhere."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import product

import msgspec

from tidegate.demo.remotes.jenkins_items import EXTERNAL, MATRIX, MAVEN, Build, Job
from tidegate.demo.remotes.jenkins_tree import Bean, Tree


class MatrixBuild(Build):
    """A build that runs once for each combination of the axes."""

    members = (*Build.members, "runs")

    def render(self, tree: Tree) -> msgspec.Raw:
        """Not kept: it changes with each of its runs."""
        return Bean.render(self, tree)

    def member(self, name: str) -> object:
        if name == "runs" and isinstance(self.job, MatrixJob):
            return [run for config in self.job.configurations if (run := config.run_of(self))]
        return super().member(name)


class Configuration(Job):
    """One combination, like `OS=linux,JDK=21`: it has builds, and its page needs no `job/` of its own."""

    def __init__(self, name: str, matrix: "MatrixJob", root: Callable[[], str]) -> None:
        super().__init__(name, "hudson.matrix.MatrixConfiguration", root)
        self.matrix = matrix

    @property
    def full_name(self) -> str:
        return f"{self.matrix.full_name}/{self.name}"

    @property
    def full_display_name(self) -> str:
        return f"{self.matrix.full_display_name} » {self.name}"

    @property
    def url(self) -> str:
        return f"{self.matrix.url}{self.name}/"

    def run_of(self, build: Build) -> Build | None:
        """Its run in a build, else the run before: a build of some combinations lists the others' older runs
        (vendor's source).
        """
        return next((run for run in self.newest() if run.number <= build.number), None)


class MatrixJob(Job):
    """A multi-configuration job. It lists its combinations as `activeConfigurations`, not as jobs (vendor's
    source); in a folder's `jobs` it is one entry (recorded answers).
    """

    members = (*Job.members, "activeConfigurations")

    def __init__(self, name: str, axes: dict[str, list[str]], root: Callable[[], str]) -> None:
        super().__init__(name, MATRIX, root)
        names = (
            ",".join(f"{axis}={value}" for axis, value in zip(axes, values, strict=True))
            for values in product(*axes.values())
        )
        self.configurations = [Configuration(name, self, root) for name in names]
        self.only: set[str] | None = None

    def start(self, now: datetime, duration: timedelta | None, result: str) -> Build:
        """Every combination runs, or those of `only`, under the number of the build."""
        build = self._kept(MatrixBuild(self, self.next_number, now, _end(now, duration), result))
        for config in self.configurations:
            if self.only is None or config.name in self.only:
                config.next_number = build.number
                config.start(now, duration, result)
        return build

    def member(self, name: str) -> object:
        return self.configurations if name == "activeConfigurations" else super().member(name)

    def child(self, step: str) -> Configuration | None:
        return next((config for config in self.configurations if config.name == step), None)


class Module(Job):
    """A module of a Maven job, which is no job of its own either (vendor's source)."""

    def __init__(self, name: str, root: Callable[[], str]) -> None:
        super().__init__(name, "hudson.maven.MavenModule", root)


class MavenJob(Job):
    """Builds of its own, and modules."""

    members = (*Job.members, "modules")

    def __init__(self, name: str, modules: list[str], root: Callable[[], str]) -> None:
        super().__init__(name, MAVEN, root)
        self.modules = [Module(module, root) for module in modules]

    def member(self, name: str) -> object:
        return self.modules if name == "modules" else super().member(name)


class ExternalJob(Job):
    """Something that ran elsewhere and told Jenkins its result: it cannot be built here (vendor docs)."""

    def __init__(self, name: str, root: Callable[[], str]) -> None:
        super().__init__(name, EXTERNAL, root)

    def member(self, name: str) -> object:
        return False if name == "buildable" else super().member(name)


def _end(now: datetime, duration: timedelta | None) -> datetime | None:
    return now + duration if duration is not None else None
