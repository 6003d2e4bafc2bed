"""Live dashboards, replays of recorded ones, figures of what sessions did, and reports where nothing is live."""

from crossbow_lab.dashboard import figures as figures
from crossbow_lab.dashboard.dashboard import Dashboard as Dashboard
from crossbow_lab.dashboard.dashboard import open_dashboard as open_dashboard
from crossbow_lab.dashboard.dashboard import run_live as run_live
from crossbow_lab.dashboard.gantts import gantt as gantt
from crossbow_lab.dashboard.heat_maps import heat_map as heat_map
from crossbow_lab.dashboard.noise_figures import gradient_noise as gradient_noise
from crossbow_lab.dashboard.quizzes import Quiz as Quiz
from crossbow_lab.dashboard.quizzes import quiz as quiz
from crossbow_lab.dashboard.replays import Replay as Replay
from crossbow_lab.dashboard.replays import ReplayDashboard as ReplayDashboard
from crossbow_lab.dashboard.replays import replay as replay
from crossbow_lab.dashboard.scaling_figures import scaling as scaling
from crossbow_lab.dashboard.still import Still as Still
from crossbow_lab.dashboard.still import static as static
from crossbow_lab.surroundings import is_headless as is_headless
