#!/usr/bin/env bash
# 1. Seen with statsmodels 0.15.0, patsy 1.0.3, formulaic 1.2.2, pandas 3.1.1, numpy 2.4.6, Python 3.11.
# 2. A binomial smf.glm or smf.gee whose outcome is a boolean column models the probability of False: every coefficient has the opposite
#    sign of the same model on 0 and 1. smf.logit, smf.ols and smf.mixedlm refuse the same column. With the other formula engine that
#    statsmodels can be set to (statsmodels.formula.options.formula_engine = "formulaic") the same line models True, so that one script
#    gives two signs by a setting. Nothing is warned of; the one trace is the name of the outcome, ['correct[False]', 'correct[True]'].
# 3. One would expect True to be success, as in sm.GLM on the array, in pandas' means and under the other engine - or a refusal, as in logit.
# 4. "correct ~ arm" on a table of answers with a boolean column of right and wrong: the better model is reported as the worse.
# 5. Seen on 2026-11-28 (higher x makes True likelier; the coefficient drawn from is +1):
#      glm, 0 and 1              1.125
#      glm, boolean             -1.125
#      gee, boolean             -1.125
#      logit, boolean          refused
#      glm, boolean, formulaic   1.125
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet statsmodels==0.15.0 patsy==1.0.3 formulaic==1.2.2 pandas==3.1.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import pandas as pd
import statsmodels.api as sm
import statsmodels.formula
import statsmodels.formula.api as smf

rng = np.random.default_rng(0)
answers = pd.DataFrame({"x": rng.normal(size=400), "image": np.repeat(np.arange(100), 4)})
answers["correct"] = rng.random(400) < 1 / (1 + np.exp(-(1 + answers.x)))
answers["one"] = answers.correct.astype(int)
binomial = sm.families.Binomial()
whole = smf.glm("one ~ x", answers, family=binomial).fit().params["x"]
glm = smf.glm("correct ~ x", answers, family=binomial).fit().params["x"]
gee = smf.gee("correct ~ x", "image", answers, family=binomial).fit().params["x"]
try:
    smf.logit("correct ~ x", answers)
    logit = "accepted"
except ValueError:
    logit = "refused"
statsmodels.formula.options.formula_engine = "formulaic"
other = smf.glm("correct ~ x", answers, family=binomial).fit().params["x"]
print(f"glm, 0 and 1            {whole:7.3f}")
print(f"glm, boolean            {glm:7.3f}")
print(f"gee, boolean            {gee:7.3f}")
print(f"logit, boolean          {logit}")
print(f"glm, boolean, formulaic {other:7.3f}")
assert whole > 0.8 and abs(glm + whole) < 1e-6 and abs(gee + whole) < 1e-3
assert logit == "refused" and abs(other - whole) < 1e-6
PYTHON
