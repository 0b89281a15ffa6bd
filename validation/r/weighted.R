# The numbers of weighted.csv: random effects with known variances (REML, Knapp & Hartung) by metafor.
#   Rscript weighted.R          (Debian: r-cran-metafor)
# weighted_maps.csv holds 24 people (group, age) and 20 elements y1… with variances v1…; NA: not observed there.
# The search is made exact: metafor stops at a step of 1e-5 unless it is told otherwise.
suppressMessages(library(metafor))
people <- read.csv("weighted_maps.csv")
digits <- 15; rows <- list()
models <- list("1" = ~ 1, "group + age" = ~ group + age)
for (element in 1:20) for (formula in names(models)) {
  here <- data.frame(y = people[[paste0("y", element)]], v = people[[paste0("v", element)]],
                     group = people$group, age = people$age)
  here <- here[!is.na(here$y), ]
  for (step in c(1, 0.5, 0.2, 0.05)) {  # where variances differ a thousandfold its steps overshoot
    fit <- try(rma(y, v, mods = models[[formula]], data = here, method = "REML", test = "knha",
                   control = list(threshold = 1e-12 * max(1, var(here$y)), maxiter = 1e5, stepadj = step)), TRUE)
    if (!inherits(fit, "try-error")) break
  }
  p <- length(fit$b)
  joint <- if (p > 1) anova(fit, btt = 2:p) else NULL
  rows[[length(rows) + 1]] <- data.frame(element, formula, tau2 = fit$tau2, I2 = fit$I2, dof = fit$k - p,
    coefficient = seq_len(p), effect = as.vector(fit$b), se = fit$se, t = fit$zval, p = fit$pval,
    F = if (p > 1) joint$QM else NA, p_F = if (p > 1) joint$QMp else NA)
}
answers <- do.call(rbind, rows)
for (column in setdiff(names(answers), c("element", "formula", "coefficient")))
  answers[[column]] <- signif(answers[[column]], digits)
write.csv(answers, "weighted.csv", row.names = FALSE, na = "")
