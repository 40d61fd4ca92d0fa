"""Use cases of variables: what the commands of one project, or of all, get in their environment.

Where a scope is asked for, it is a project, or None for all projects. A project's own variable takes the place of the
one of all projects that has its name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock
from deployer.commands import dotenv, release_dir, variables_file
from deployer.errors import InvalidInput, NotFound, as_sentence
from deployer.executors.base import encode, variable_problem
from deployer.models.base import table_of
from deployer.models.project import FileFormat, Project, Strategy, Variable
from deployer.security.redaction import MIN_SECRET_BYTES
from deployer.security.vault import Vault

ALL_PROJECTS = "all projects"
"""What the scope of everything is called, also in the audit log. No project can have this name."""

_variables = table_of(Variable)
_OF_ALL = sa.select(_variables).where(_variables.c.project_id.is_(None)).order_by(_variables.c.name)


@dataclass(frozen=True)
class Given:
    """A variable as a project's commands get it. ``overrides``: one of all projects has its name too."""

    variable: Variable
    overrides: bool = False

    @property
    def is_of_all(self) -> bool:
        return self.variable.project_id is None


def place(project_id: str | None, name: str) -> str:
    """Where a secret variable is stored, as the vault binds it: that of one scope does not open in another."""
    return f"project:{project_id}:variable:{name}" if project_id else f"all-projects:variable:{name}"


def of_all_projects(connection: sa.Connection) -> list[Variable]:
    """Those of all projects, by name. They belong to no session."""
    return [Variable(**row) for row in connection.execute(_OF_ALL).mappings()]


def of_scope(session: Session, project: Project | None) -> list[Variable]:
    """A scope's own variables, by name."""
    wanted = sa.select(Variable).where(Variable.project_id == (project.id if project else None))
    return list(session.scalars(wanted.order_by(Variable.name)))


def given(project: Project, of_all: Sequence[Variable]) -> list[Given]:
    """What a project's commands get, by name."""
    names = {one.name for one in of_all}
    own = {one.name: Given(one, one.name in names) for one in project.variables}
    return sorted(({one.name: Given(one) for one in of_all} | own).values(), key=lambda one: one.variable.name)


def value(variable: Variable, vault: Vault) -> str:
    """Raises SecretUnreadable."""
    if variable.secret_value is None:
        return variable.plain_value or ""
    opened = vault.open(variable.secret_value, place(variable.project_id, variable.name))
    return opened.decode("utf-8", "surrogateescape")


# Changed ---------------------------------------------------------------------------------------------------------


def set_variable(
    session: Session, project: Project | None, name: str, value: str, *, secret: bool, vault: Vault
) -> None:
    """Give a scope's commands ``name=value``; an earlier value is replaced. Raises InvalidInput."""
    problem = variable_problem(name, value)
    if problem:
        raise InvalidInput(
            {"variable_name" if "name" in problem or "shell" in problem else "value": as_sentence(problem)}
        )
    if name.startswith(("DEPLOY_", "DEPLOYER_")):
        raise InvalidInput({"variable_name": "Names that begin with DEPLOY_ and DEPLOYER_ are Deployer's own."})
    if secret and len(encode(value)) < MIN_SECRET_BYTES:
        raise InvalidInput(
            {"value": f"A secret has at least {MIN_SECRET_BYTES} bytes; a shorter one cannot be hidden in logs."}
        )
    if project and project.variables_file:
        problem = variables_file.value_problem(project.variables_format, value)
        if problem:
            raise InvalidInput({"value": not_in_the_file(name, problem, project.variables_format)})
    own = of_scope(session, project)
    variable = next((one for one in own if one.name == name), None)
    if variable is None:
        variable = Variable(id=clock.new_id(), project_id=project.id if project else None, name=name)
        session.add(variable)
    sealed = vault.seal(encode(value), place(variable.project_id, name)) if secret else None
    variable.plain_value = None if secret else value
    variable.secret_value = sealed
    session.flush()
    _touch(session, project)


def find(session: Session, project: Project | None, variable_id: str) -> Variable:
    """A variable of this very scope. Raises NotFound."""
    variable = next((one for one in of_scope(session, project) if one.id == variable_id), None)
    if variable is None:
        raise NotFound("Variable not found")
    return variable


def find_by_name(session: Session, project: Project | None, name: str) -> Variable:
    """Raises InvalidInput where the scope itself has none of this name."""
    variable = next((one for one in of_scope(session, project) if one.name == name), None)
    if variable is None:
        whose = project.name if project else "The scope of all projects"
        raise InvalidInput({"variable_name": f"{whose} has no variable {name}."})
    return variable


def remove(session: Session, project: Project | None, variable: Variable) -> None:
    session.delete(variable)
    session.flush()
    _touch(session, project)


def _touch(session: Session, project: Project | None) -> None:
    if project:
        project.updated_at = clock.now()
        session.expire(project, ["variables"])


# As text ---------------------------------------------------------------------------------------------------------


def read_text(text: str) -> list[dotenv.Entry]:
    """The variables of a dotenv text. Raises InvalidInput, which names the line."""
    try:
        entries = dotenv.read(text)
    except dotenv.Unreadable as error:
        raise InvalidInput({"text": str(error)}) from error
    if not entries:
        raise InvalidInput({"text": "There is no variable in it. Give lines such as NODE_ENV=production."})
    return entries


def import_text(
    session: Session, project: Project | None, text: str, *, secret: bool | Collection[str], vault: Vault
) -> list[str]:
    """Set all variables of a dotenv text; their names. ``secret`` says whether they are, or names those that are; one
    that is secret already stays so. Raises InvalidInput, which names the line; the transaction is to be undone then.
    """
    stays_secret = {one.name for one in of_scope(session, project) if one.is_secret}
    entries = read_text(text)
    for entry in entries:
        is_secret = secret if isinstance(secret, bool) else entry.name in secret
        try:
            set_variable(
                session,
                project,
                entry.name,
                entry.value,
                secret=is_secret or entry.name in stays_secret,
                vault=vault,
            )
        except InvalidInput as error:
            words = " ".join(error.fields.values())
            raise InvalidInput({"text": f"Line {entry.line}: {entry.name} cannot be set. {words}"}) from error
    return [entry.name for entry in entries]


def export_text(own: Sequence[Variable], vault: Vault, *, with_secrets: bool = False) -> str:
    """A scope's own variables as a dotenv text, which `import_text` takes back. Of a secret one only the name is
    told, in a comment, unless it is asked for. Raises SecretUnreadable."""
    lines = [
        f"{one.name}={dotenv.escaped(value(one, vault))}"
        if with_secrets or not one.is_secret
        else f"# {one.name} is secret, and its value is not exported."
        for one in own
    ]
    return "".join(f"{line}\n" for line in lines)


# As a file -------------------------------------------------------------------------------------------------------


def set_file(project: Project, path: str, file_format: str, of_all: Sequence[Variable], vault: Vault) -> None:
    """Have the variables written into a file before the steps run; an empty path: no more. Raises InvalidInput,
    SecretUnreadable."""
    if not path:
        project.variables_file = None
        project.updated_at = clock.now()
        return
    if file_format not in list(FileFormat):
        raise InvalidInput({"variables_format": "Choose dotenv or JSON."})
    if problem := variables_file.path_problem(path):
        raise InvalidInput({"variables_file": as_sentence(problem)})
    is_release = project.strategy is Strategy.RELEASE
    if is_release and (shared := release_dir.shared_with(path, project.shared_paths.splitlines())):
        words = f"'{shared}' is shared by the releases, and each gets a file of its own. Choose another path."
        raise InvalidInput({"variables_file": words})
    if problem := file_problem(project, file_format, of_all, vault):
        raise InvalidInput({"variables_format": problem})
    project.variables_file = path
    project.variables_format = FileFormat(file_format)
    project.updated_at = clock.now()


def file_problem(project: Project, file_format: str, of_all: Sequence[Variable], vault: Vault) -> str | None:
    """Why a project's variables cannot be written in that format, in a sentence; None if they can. Raises
    SecretUnreadable."""
    for one in given(project, of_all):
        problem = variables_file.value_problem(file_format, value(one.variable, vault))
        if problem:
            return not_in_the_file(one.variable.name, problem, file_format)
    return None


def not_in_the_file(name: str, problem: str, file_format: str) -> str:
    if file_format == FileFormat.DOTENV:
        return f"{name} cannot be written into a dotenv file: {problem}. Write the file as JSON, or change the value."
    return f"{name} cannot be written into a JSON file: {problem}. Change the value."
