# The numbers of contrasts.csv: R's answers to questions that bids-group answers too.
#   Rscript contrasts.R         (Debian: r-base-core r-cran-emmeans r-cran-car r-cran-metafor)
# people.csv holds 37 people (three groups of unequal size, two sexes, age) and five elements of a map each:
# y1…y5 the effects, v1…v5 their variances. The spread of y grows from group a to group c.
suppressMessages({library(emmeans); library(car); library(metafor)})
people <- read.csv("people.csv", stringsAsFactors = TRUE)
options(contrasts = c("contr.sum", "contr.poly"))  # what Type III tests need
people$aged <- people$age - mean(people$age)
rows <- list()
keep <- function(question, element, effect, se, statistic, df, p)
  rows[[length(rows) + 1]] <<- data.frame(question, element, effect, se, statistic, df, p)
keep_t <- function(question, element, table) {  # a one-row summary of emmeans or emtrends
  table <- as.data.frame(table)
  estimate <- intersect(c("estimate", "emmean", "age.trend"), names(table))
  keep(question, element, table[[estimate]], table$SE, table$t.ratio, table$df, table$p.value)
}

for (element in 1:5) {
  people$y <- people[[paste0("y", element)]]
  people$v <- people[[paste0("v", element)]]

  # ordinary least squares: marginal means, slopes, Type III tests
  fit <- lm(y ~ group * age + sex, people)
  means <- emmeans(fit, "group"); trends <- emtrends(fit, "group", var = "age")
  keep_t("mean(group=b)", element, test(contrast(means, list(own = c(0, 1, 0)))))
  keep_t("mean(group=a) - mean(group=c)", element, test(contrast(means, list(own = c(1, 0, -1)))))
  keep_t("slope(age, group=c)", element, test(contrast(trends, list(own = c(0, 0, 1)))))
  keep_t("slope(age, group=a) - slope(age, group=b)", element, test(contrast(trends, list(own = c(1, -1, 0)))))
  cells <- emmeans(fit, c("group", "sex"))  # levels of group run fastest
  keep_t("mean(group=a, sex=F)", element, test(contrast(cells, list(own = c(1, 0, 0, 0, 0, 0)))))
  centred <- lm(y ~ group * aged + sex, people)
  typed <- Anova(centred, type = 3)
  for (term in c("group", "aged", "sex", "group:aged"))
    keep(sprintf("test(%s)", sub("aged", "age", term)), element, NA, NA,
         typed[term, "F value"], typed[term, "Df"], typed[term, "Pr(>F)"])

  # a curve: its slope at thirty years, b1 + 2 * 30 * b2 (emtrends takes a difference, 0.3 % off here)
  curve <- lm(y ~ age + I(age^2) + sex, people)
  weights <- c(0, 1, 60, 0)
  slope <- sum(weights * coef(curve)); se <- sqrt(drop(weights %*% vcov(curve) %*% weights))
  keep("curve: slope(age, age=30)", element, slope, se, slope / se, df.residual(curve),
       2 * pt(-abs(slope / se), df.residual(curve)))

  # groups with a variance each (Welch 1951)
  two <- droplevels(subset(people, group != "b"))
  welch <- t.test(y ~ group, two)
  keep("welch: mean(group=a) - mean(group=c)", element, diff(rev(welch$estimate)), welch$stderr,
       welch$statistic, welch$parameter, welch$p.value)

  # known variances, fixed effects
  known <- rma(y, v, mods = ~ aged, data = people, method = "FE")
  for (row in 1:2)
    keep(c("meta: mean()", "meta: slope(age)")[row], element, known$b[row], known$se[row], known$zval[row], Inf,
         known$pval[row])
}
answers <- do.call(rbind, rows)
for (column in c("effect", "se", "statistic", "df", "p")) answers[[column]] <- signif(answers[[column]], 12)
write.csv(answers, "contrasts.csv", row.names = FALSE, quote = TRUE, na = "")
