# The numbers of evidence.csv: two one-sided tests (equivalence) and JZS Bayes factors.
#   Rscript evidence.R          (Debian: r-cran-bayesfactor)
# Bounds in units of the effect: R's own t.test and lm, whose two one-sided p TOSTER reports; bounds in residual
# standard deviations: R's non-central t. Bayes factors: BayesFactor (ttest.tstat; linearReg.R2stat for a slope, whose
# covariate it divides by the standard deviation with n in the denominator).
suppressMessages(library(BayesFactor))
people <- read.csv("people.csv", stringsAsFactors = TRUE)
scale <- sqrt(2) / 2; rows <- list()
add <- function(element, design, effect, se, dof, size, lower, upper, bf) {
  t <- effect / se
  for (unit in c("raw", "g")) {
    p <- if (unit == "raw") c(pt((effect - lower) / se, dof, lower.tail = FALSE), pt((effect - upper) / se, dof))
         else c(pt(t, dof, ncp = lower * size, lower.tail = FALSE), pt(t, dof, ncp = upper * size))
    rows[[length(rows) + 1]] <<- data.frame(element, design, unit, lower, upper, effect, se, dof, p_lower = p[1],
                                            p_upper = p[2], p = max(p), bf10 = exp(bf))
  }
}
for (element in grep("^y", names(people), value = TRUE)) {
  y <- people[[element]]
  for (bounds in list(c(-0.9, 0.9), c(-0.3, 1.4))) {
    lower <- bounds[1]; upper <- bounds[2]
    one <- t.test(y)
    add(element, "mean", one$estimate, one$stderr, one$parameter, sqrt(length(y)), lower, upper,
        ttest.tstat(one$statistic, length(y), rscale = scale)[["bf"]])
    stopifnot(all.equal(t.test(y, mu = upper, alternative = "less")$p.value, rows[[length(rows) - 1]]$p_upper))
    a <- y[people$group == "b"]; b <- y[people$group == "a"]
    two <- t.test(a, b, var.equal = TRUE)
    add(element, "groups", mean(a) - mean(b), two$stderr, two$parameter, 1 / sqrt(1 / length(a) + 1 / length(b)),
        lower, upper, ttest.tstat(two$statistic, length(a), length(b), rscale = scale)[["bf"]])
    fit <- summary(lm(y ~ age, people)); slope <- fit$coefficients["age", ]
    add(element, "slope", slope[[1]], slope[[2]], fit$df[2], fit$sigma / slope[[2]], lower / 30, upper / 30,
        linearReg.R2stat(length(y), 1, fit$r.squared, rscale = scale)[["bf"]])
  }
}
answers <- do.call(rbind, rows)
for (column in c("effect", "se", "p_lower", "p_upper", "p", "bf10")) answers[[column]] <- signif(answers[[column]], 15)
write.csv(answers, "evidence.csv", row.names = FALSE)
