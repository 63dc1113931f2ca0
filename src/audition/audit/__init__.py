"""Who judges: rules, checkers of written reasoning, models, people; and how they are asked."""

from audition.audit.asking import Left, ask, card, checked, recorded, signed, view, without_words
from audition.audit.comparing import BETTER, Compared, copeland
from audition.audit.config import ComparisonAuditor, CriticAuditor, TrainedAuditor
from audition.audit.critic import FORESIGHT, SUSPICION, Critic
from audition.audit.dialogue import Unparsable
from audition.audit.document import Shown
from audition.audit.form import Form
from audition.audit.judgement import Judgement, Labels, TrainedError, read_judgement
from audition.audit.person import Person, written
from audition.audit.rules import Rule, Rules, RulesError, read_rules
from audition.audit.trained import Trained

__all__ = [
    "BETTER",
    "FORESIGHT",
    "SUSPICION",
    "Compared",
    "ComparisonAuditor",
    "Critic",
    "CriticAuditor",
    "Form",
    "Judgement",
    "Labels",
    "Left",
    "Person",
    "Rule",
    "Rules",
    "RulesError",
    "Shown",
    "Trained",
    "TrainedAuditor",
    "TrainedError",
    "Unparsable",
    "ask",
    "card",
    "checked",
    "copeland",
    "read_judgement",
    "read_rules",
    "recorded",
    "signed",
    "view",
    "without_words",
    "written",
]
